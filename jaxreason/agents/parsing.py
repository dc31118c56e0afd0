"""Text out: the chunks of a segmenter, the scores of a scorer.

Whatever a model writes is read without an exception: either in the one accepted form, or as None with a cause out of a
small closed set, for the log. Text may hold surrogates, one for each byte that is no character (`tokenizer.text_of`).
This module must not know tokens, arrays or rewards.
"""

import re

from jaxreason.agents.tags import CLOSE, DIGITS, OPEN, SCORE_CLOSE, SCORE_OPEN

SEGMENT_CAUSES = (
    "ok",
    "truncated",
    "no_tags",
    "unbalanced",
    "nested",
    "text_outside",
    "empty_chunk",
    "too_many",
    "too_few",
    "not_lossless",
)
SCORE_CAUSES = ("ok", "truncated", "no_tags", "text_outside", "count", "order", "range")

_SPACE = re.compile(r"[ \t\n\r\f\v]+")
_SCORE_BEHIND = re.compile(rf"\s*{re.escape(SCORE_OPEN)}([^<]*){re.escape(SCORE_CLOSE)}")
_TAG = re.compile(f"{re.escape(OPEN)}|{re.escape(CLOSE)}")


def parse_segments(
    text: str, y: str = "", *, finished: bool = True, max_chunks: int | None = None
) -> tuple[list[str] | None, str]:
    """Read `<seg>..</seg><seg>..</seg>`; only white space may stand between or around the tags.

    y may itself hold the tags, as text. A tag met inside a chunk is taken for text where y continues with that very
    tag at this place, and for the end of the chunk otherwise; so a copy of y stays one chunk whatever y holds. Whether
    the chunks give back y is for `alignment.align` to say (cause `not_lossless`), `too_few` for `build_chunks`.

    Args:
      text: the segmenter's completion without its end token.
      y: the text it was asked to split; only needed where y can hold tags.
      finished: whether it ended by itself; what was cut is `truncated`, even if it reads well.
      max_chunks: more are `too_many`.

    Returns: the chunks as written, white space included, and "ok"; or None and the cause.

    >>> parse_segments("<seg>2+3=5</seg> <seg>so 5</seg>")
    (['2+3=5', 'so 5'], 'ok')
    """
    chunks, cause, _ = _read_chunks(text, y, finished, max_chunks, scored=False)
    return chunks, cause


def parse_annotation(
    text: str, y: str = "", *, finished: bool = True, max_chunks: int | None = None
) -> tuple[list[str] | None, str, list[int] | None, str]:
    """Read `<seg>..</seg><score>5</score><seg>..</seg><score>1</score>`: chunks as `parse_segments` does, each with a
    score behind it.

    Returns: the chunks or None and the cause, as `parse_segments`; then the scores or None and their cause, one of
      SCORE_CAUSES: `count` where a chunk has none, `range` where one is no integer 1 to 5. Without chunks there are no
      scores either, and their cause is "".

    >>> parse_annotation("<seg>2+3=5</seg><score>5</score> <seg>so 5</seg><score>1</score>")
    (['2+3=5', 'so 5'], 'ok', [5, 1], 'ok')
    >>> parse_annotation("<seg>2+3=5</seg><score>6</score>")
    (['2+3=5'], 'ok', None, 'range')
    """
    chunks, cause, found = _read_chunks(text, y, finished, max_chunks, scored=True)
    if chunks is None:
        return None, cause, None, ""
    if None in found:
        return chunks, cause, None, "count"
    if not all(value in DIGITS for value in found):
        return chunks, cause, None, "range"
    return chunks, cause, [int(value) for value in found if value], "ok"


def _read_chunks(
    text: str, y: str, finished: bool, max_chunks: int | None, *, scored: bool
) -> tuple[list[str] | None, str, list[str | None]]:
    """The chunks or None, the cause, and, if scored, what the score behind each chunk says, None where none stands."""
    if not finished:
        return None, "truncated", []
    literal = _Source(y) if OPEN in y or CLOSE in y else None
    chunks: list[str] = []
    scores: list[str | None] = []
    start, end = None, 0  # where the open chunk began; where the last tag ended
    for tag in _TAG.finditer(text):
        gap = text[end : tag.start()]
        end = tag.end()
        if start is not None:
            if literal and literal.holds(gap, tag.group()):
                continue
            if tag.group() == OPEN:
                return None, "nested", []
            chunks.append(text[start : tag.start()])
            start = None
            if scored:
                behind = _SCORE_BEHIND.match(text, end)
                scores.append(behind and behind[1].strip())
                end = behind.end() if behind else end
        elif _SPACE.sub("", gap):
            return None, "text_outside", []
        elif tag.group() == CLOSE:
            return None, "unbalanced", []
        else:
            start = tag.end()
    if end == 0:
        return None, "no_tags", []
    if start is not None:
        return None, "unbalanced", []
    if _SPACE.sub("", text[end:]):
        return None, "text_outside", []
    if not all(_SPACE.sub("", chunk) for chunk in chunks):
        return None, "empty_chunk", []
    if max_chunks is not None and len(chunks) > max_chunks:
        return None, "too_many", []
    return chunks, "ok", scores


class _Source:
    """y, read along with its copy: a place in y is how many characters that are no white space lie before it."""

    def __init__(self, y: str):
        self.y = y
        self.ink = [i for i, c in enumerate(y) if not _SPACE.match(c)]
        self.place = 0

    def holds(self, gap: str, tag: str) -> bool:
        """Move past `gap`; then, if y continues with `tag`, past it too and say so."""
        self.place += len(_SPACE.sub("", gap))
        if self.place < len(self.ink) and self.y.startswith(tag, self.ink[self.place]):
            self.place += len(tag)
            return True
        return False


def parse_scores(text: str, n: int, *, finished: bool = True) -> tuple[list[int] | None, str]:
    """Read `<score>[1] 5 [2] 1</score>`: exactly n scores, each an integer 1 to 5, numbered in order.

    White space is free between numbers and brackets; nothing else may stand anywhere. n = 0 accepts empty tags only.

    Returns: the scores and "ok"; or None and the cause.

    >>> parse_scores("<score>[1] 5 [2] 1</score>", 2)
    ([5, 1], 'ok')
    >>> parse_scores("<score>[1] 5 [2] 1</score>", 3)
    (None, 'count')
    """
    if not finished:
        return None, "truncated"
    if SCORE_OPEN not in text or SCORE_CLOSE not in text:
        return None, "no_tags"
    before, _, rest = text.partition(SCORE_OPEN)
    body, _, after = rest.partition(SCORE_CLOSE)
    lead, *entries = re.split(r"\[([^\[\]]*)\]", body)
    if before.strip() or after.strip() or lead.strip():
        return None, "text_outside"
    numbers, values = entries[0::2], [v.strip() for v in entries[1::2]]
    if len(numbers) != n:
        return None, "count"
    if [number.strip() for number in numbers] != [str(i) for i in range(1, n + 1)]:
        return None, "order"
    if not all(value in DIGITS for value in values):
        return None, "range"
    return [int(value) for value in values], "ok"
