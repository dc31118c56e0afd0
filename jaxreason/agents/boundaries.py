"""Where a text falls into steps by itself: at the ends of lines, of sentences and of display formulas.

A rule about text, brought to the tokens of y on the host. A model that was never taught to split opens chunks in
mid-sentence, if at all; here it chooses among places that a reader would choose among.
"""

import re
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from jaxreason.data.tokenizer import Tokenizer, text_of


class End(IntEnum):
    """What ends before a place, the weakest first."""

    NONE = 0
    SENTENCE = 1
    LINE = 2  # a display formula counts as a line of its own
    PARAGRAPH = 3


SPACE = " \t\n\r\f\v"

_DISPLAY = re.compile(r"\$\$.*?\$\$|\\\[.*?\\\]|\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL)
"""A formula on lines of its own; one that is never closed is text like any other."""
_CLOSERS = r"[\"'”’»)\]}*_]*"
"""What may stand between the mark of a sentence's end and the space behind it."""
_MARK = re.compile(rf"[.!?…]+{_CLOSERS}(?=[{SPACE}])|[。！？]+[”’」』）]*")
_SPACES, _PUNCTUATION = re.compile(rf"[{SPACE}]*"), re.compile(rf"[.,;:]*[{SPACE}]*")
_NUMBERED = re.compile(r"[ \t>#*_(\[-]*(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,4})[.)]+[)*_]*")
"""A line that is the number of an item and nothing else: `1.`, `**2.**`, `(a)`, `- 3)`."""
_ABBREVIATED = re.compile(
    r"\b(?:e\.g|i\.e|a\.m|p\.m|etc|vs|mr|mrs|ms|dr|prof|fig|eq|eqs|sec|ch|approx|ca|cf|resp|incl)\.",
    re.IGNORECASE,
)
"""A full stop that belongs to the word before it."""
_LONGEST_WORD = 8


def starts(text: str) -> list[tuple[int, End]]:
    """Where steps of a text begin, in characters and in order, and what ends there; the first character is none.

    A line ends at its line break, a sentence at `.`, `!`, `?` or an ellipsis with a space and no small letter behind,
    or at a Chinese full stop, a display formula (`$$..$$`, `\\[..\\]`, an environment) behind its close and the
    punctuation that follows. Nothing begins inside a display formula, and none of these is an end: the point of `3.5`,
    `e.g.`, `Mr.`, or of an item's number, which goes with the item, on the next line too.

    >>> text = "1. Buy 3.5 kg, e.g. apples. Then pay.\\n$$3.5 = x$$ So 7."
    >>> [text[at:].split()[0] for at, _ in starts(text)]
    ['Then', '$$3.5', 'So']
    """
    formulas = [match.span() for match in _DISPLAY.finditer(text)]
    ends: dict[int, End] = {}

    def end_at(at: int, kind: End) -> None:
        ends[at] = max(kind, ends.get(at, End.NONE))

    for match in re.finditer(rf"[{SPACE}]*\n[{SPACE}]*", text):
        if not _is_number(text, match.start()):
            end_at(match.end(), End.PARAGRAPH if match.group().count("\n") > 1 else End.LINE)
    for match in _MARK.finditer(text):
        behind = _end(_SPACES, text, match.end())
        if _ends_sentence(text, match.start(), match.end(), behind):
            end_at(behind, End.SENTENCE)
    for _, end in formulas:
        end_at(_end(_PUNCTUATION, text, end), End.LINE)
    inside = np.zeros(len(text) + 1, bool)
    for start, end in formulas:
        inside[start + 1 : end + 1] = True
    first = len(text) - len(text.lstrip(SPACE))
    found = []
    for at, kind in sorted(ends.items()):
        if first < at < len(text) and not inside[at] and (not found or text[found[-1][0] : at].strip(SPACE)):
            found.append((at, kind))
    return found


def _ends_sentence(text: str, start: int, end: int, behind: int) -> bool:
    """Whether the mark at start..end, with the next word at `behind`, ends a sentence."""
    mark, following = text[start], text[behind : behind + 2]
    if not following:
        return False
    if mark in "。！？":
        return True
    if following[0].islower() or following[0] in ",;:)]}" or following in ("\\)", "\\]"):
        return False
    word = text[max(0, start - _LONGEST_WORD) : start + 1]
    abbreviated = any(match.end() == len(word) for match in _ABBREVIATED.finditer(word))
    return mark != "." or not (abbreviated or _is_number(text, end))


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a pattern that matches the empty text too ends, from `at` on."""
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _is_number(text: str, end: int) -> bool:
    """Whether the line up to `end` is the number of an item and nothing else."""
    return _NUMBERED.fullmatch(text, text.rfind("\n", 0, end) + 1, end) is not None


def places(ids: Sequence[int], tokenizer: Tokenizer, *, max_chunks: int) -> np.ndarray:
    """Before which tokens of y a chunk may begin, bool [len(ids)]; at most max_chunks - 1 of them, so that no split has
    more than max_chunks.

    A place inside a token's ink is none: a chunk begins with a whole token. Where there are too many, the text is cut
    into equal stretches of tokens, and each keeps its strongest end, the last of equals.
    """
    pieces = [tokenizer.token_bytes(i) for i in ids]
    text = text_of(ids, tokenizer)
    borders_T = np.cumsum([0, *map(len, pieces)])
    spaces_T = [len(piece) - len(piece.lstrip(SPACE.encode())) for piece in pieces]
    token_at = {
        int(b) + s: t for t, (b, s) in enumerate(zip(borders_T[:-1], spaces_T, strict=True)) if s < len(pieces[t])
    }
    kind_T = np.zeros(len(ids), np.int32)
    at_byte, at_character = 0, 0
    for at, kind in starts(text):
        at_byte += len(text[at_character:at].encode("utf-8", "surrogateescape"))
        at_character = at
        if (token := token_at.get(at_byte)) is not None:
            kind_T[token] = kind
    return _strongest(kind_T, max_chunks - 1)


def _strongest(kind_T: np.ndarray, most: int) -> np.ndarray:
    """Which ends to keep, at most `most`."""
    if (kind_T > 0).sum() <= most:
        return kind_T > 0
    kept_T = np.zeros(len(kind_T), bool)
    for stretch in np.array_split(np.arange(len(kind_T)), most) if most else []:
        best = stretch[::-1][np.argmax(kind_T[stretch][::-1])]
        kept_T[best] = kind_T[best] > 0
    return kept_T
