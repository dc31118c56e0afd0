"""Where the reasoning y and the answer lie in a completion: in its text, as a task says, and so on its tokens.

Everything is compared in bytes, through `Tokenizer.token_bytes`: characters may be cut by token borders. Host code, one
row at a time. Starts no JAX.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.config.doors import in_a_line
from jaxreason.data.tokenizer import Tokenizer, text_of


class Span(NamedTuple):
    """Where y lies in a completion, in characters, and what was answered."""

    start: int
    end: int
    answer: str | None
    """as `grade` gets it; None where the completion holds no answer, which counts as wrong"""
    mark: tuple[int, int] | None = None
    """where between start and end the tag stands that closes the thought; it is no part of y"""


class Reasoning(NamedTuple):
    """What one completion holds: y as its own tokens, and the answer."""

    text: str  # y; equal to text_of(ids)
    ids: list[int]  # y's tokens
    places: list[int]  # where each stands in the completion; in order, with a gap where a thought is closed
    answer: str | None
    trouble: str = ""  # why the task could not read it, in a line; such a completion cannot be graded


def find_reasoning(ids: Sequence[int], tokenizer: Tokenizer, read: Callable[[str], Span]) -> Reasoning:
    """Find y among a completion's tokens.

    A token that reaches over an end of y, or holds a part of the tag that closes the thought, is not y's. A y of white
    space only is empty.

    Args:
      ids: a completion without its end token.
      read: the task's, see `tasks.base.Task.read`. Where it fails, y is the whole and the reason is `trouble`.
    """
    pieces = [tokenizer.token_bytes(i) for i in ids]
    text = b"".join(pieces).decode("utf-8", "surrogateescape")
    span, trouble = Span(0, len(text), None), ""
    try:
        span = checked(read(text), text)
    except Exception as error:  # of a user's own code; a completion it cannot read ends no run
        trouble = f"read: {in_a_line(error)}"
    borders_T = np.cumsum([0, *map(len, pieces)])

    def byte(at: int) -> int:
        return len(text[:at].encode("utf-8", "surrogateescape"))

    inside_T = (borders_T[:-1] >= byte(span.start)) & (borders_T[1:] <= byte(span.end))
    if span.mark:
        inside_T &= (borders_T[1:] <= byte(span.mark[0])) | (borders_T[:-1] >= byte(span.mark[1]))
    places = np.flatnonzero(inside_T).tolist()
    y = [ids[at] for at in places]
    text = text_of(y, tokenizer)
    if not text.strip(" \t\n\r\f\v"):
        return Reasoning("", [], [], span.answer, trouble)
    return Reasoning(text, y, places, span.answer, trouble)


def checked(found: object, text: str) -> Span:
    """What a task's `read` found in a text, as a Span; a plain tuple of its fields will do.

    Raises:
      TypeError: something else, or places outside the text.
    """
    expected = "expected Span(start, end, answer)"
    if not isinstance(found, tuple) or not 3 <= len(found) <= 4:
        raise TypeError(f"{expected}, got {found!r:.80}")
    span = Span(*found)
    if not (isinstance(span.start, int) and isinstance(span.end, int) and 0 <= span.start <= span.end <= len(text)):
        raise TypeError(f"{expected} with 0 <= start <= end <= {len(text)}, the text's length, got {tuple(span)!r:.80}")
    if not isinstance(span.answer, str | None):
        raise TypeError(f"{expected} with an answer that is a string or None, got {span.answer!r:.80}")
    return span
