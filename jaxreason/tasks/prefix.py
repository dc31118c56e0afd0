"""How much of a reasoning was needed to have the answer, by its text: the necessary prefix of DeCS, arXiv:2509.25827.

There a judge model finds the first chunk that presents the right answer. Here it is the first place where a right
completion's own answer stands by itself. An answer that happens to stand earlier for another reason, a small number in
a sum, is taken for it, so shares are too small rather than too large. Starts no JAX.
"""

import re
from collections.abc import Sequence
from itertools import accumulate

MARKERS = ("Wait", "But", "Alternatively", "Hmm", "Let", "Therefore")
"""Words at which a chunk begins, those of the authors' code; a space before one is its own, as in tokens."""
_MARKER = re.compile(rf" ?(?<!\w)(?:{'|'.join(MARKERS)})(?!\w)")


def answer_end(text: str, answer: str | None) -> int:
    """Characters up to the end of the first place where an answer stands by itself; 0: nowhere, or no answer.

    By itself means with no letter, digit, or decimal point and digit, on either side: 7 is not found in 17 or 7.5.

    >>> answer_end("1+7=8, so 8", "8"), answer_end("17 or 7.5", "7")
    (5, 0)
    """
    answer = (answer or "").strip()
    found = re.search(rf"(?<![\w.]){re.escape(answer)}(?!\w|\.\d)", text) if answer else None
    return found.end() if found else 0


def chunk_end(text: str, answer: str | None) -> int:
    """Characters up to the end of the first chunk that holds the answer; 0: none does.

    >>> text = "2+2=4. Wait, 4? But yes."
    >>> text[: chunk_end(text, "4")]
    '2+2=4.'
    """
    at = answer_end(text, answer)
    if not at:
        return 0
    return next((begin for begin in _begins(text) if begin >= at), len(text))


def chunk_share(text: str, answer: str | None) -> float | None:
    """The place of the first chunk that holds the answer, from 1, over the number of chunks; None where none does.

    >>> chunk_share("2+2=4. Wait, 4? But yes.", "4")
    0.3333333333333333
    """
    at, begins = answer_end(text, answer), _begins(text)
    return (1 + sum(begin < at for begin in begins)) / (1 + len(begins)) if at else None


def _begins(text: str) -> list[int]:
    """Where chunks begin, but for the first: at a marker word. A text without any has its lines for chunks.

    The authors' code also merges a chunk of one line with the next.
    """
    begins = [found.start() for found in _MARKER.finditer(text)] or [found.end() for found in re.finditer("\n", text)]
    return [begin for begin in begins if 0 < begin < len(text)]


def prefix_share(chunks: Sequence[str], lengths: Sequence[int], answer: str | None) -> float | None:
    """PNRP of one right completion: the tokens up to the end of the first chunk that holds the answer, over all.

    Args:
      chunks: the text of each, in order.
      lengths: tokens of each.

    Returns:
      None where no chunk holds the answer, or there are no tokens.

    >>> prefix_share(["2+2", "=4\\n", "check 4"], [2, 2, 4], "4")
    0.5
    """
    at = answer_end("".join(chunks), answer)
    if not at or not sum(lengths):
        return None
    ends = list(accumulate(map(len, chunks)))
    first = next(k for k, end in enumerate(ends) if end >= at)
    return sum(lengths[: first + 1]) / sum(lengths)
