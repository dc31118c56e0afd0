r"""Mathematics as `boxed_math`, where an answer stated in words counts when none stands in a box: `data.task: math`.

A model that was never taught to box its answers states them, and under `boxed_math` earns nothing for ever. The rule is
in `read` alone, so training, evaluation and the text y that helpers see go by the same. Published protocols look at
boxes only: `data.task: boxed_math`. Starts no JAX.
"""

import re

from jaxreason.grading.boxes import last_box
from jaxreason.tasks import boxed_math
from jaxreason.tasks.base import Task
from jaxreason.tasks.reading import Span

MAX_STATED_CHARS = 100
"""A longer statement is an explanation and no answer."""

_MARKS = r"[*_`\s]*"
_STATEMENT = re.compile(
    r"^[ \t]*####|"  # as GSM8K ends its solutions
    r"^#{1,6}[ \t]*(?:final[ \t]+)?answer[ \t]*:?[ \t]*$|"
    rf"\banswers?{_MARKS}(?:(?:to|of|for)\b[^\n.:=]{{0,60}}?\s)?(?:(?:is|are)\b{_MARKS}:?|[:=])",
    re.IGNORECASE | re.MULTILINE,
)
_DISPLAY = re.compile(r"\s*(?:\\\[(.*?)\\\]|\$\$(.*?)\$\$)", re.DOTALL)
_NEXT_LINE = re.compile(r"[*_`\s]*")
_SENTENCE_END = re.compile(
    r"[.!?;](?=[*_`$)\"']*(?:\s|$))|,?\s+(?:because|since|so|as|which|where|and so|not)\s", re.IGNORECASE
)
_AROUND = re.compile(r"^(?:[*_`$\s\"']|\\\()+|(?:[*_`$\s\"'.,]|\\\))+$")


class Math(Task):
    """Mathematics answered in a box, or in words."""

    def read(self, text: str) -> Span:
        """See `read`."""
        return read(text)


def read(text: str) -> Span:
    r"""`boxed_math.read`, where the last stated answer counts if no box is closed.

    Stated is what follows `answer is`, `answers are`, `Answer:` and `answer =` (also `the answer to ... is`, with or
    without Markdown's stars), `####` at the start of a line, or a heading `Answer`: up to the end of the sentence or of
    the line, whichever comes first; the next line, or the display formula, where nothing follows on the same. The last
    statement counts, as the last box does, and only after the last `</think>`. An empty one, or one of more than
    MAX_STATED_CHARS characters, is no answer. y ends before the line of the statement, by the rule of boxes.

    >>> read("2+3=5\nThe answer is **5**.")
    Span(start=0, end=6, answer='5', mark=None)
    >>> read("The answer is 4.\nNo: \\boxed{5}").answer
    '5'
    """
    return boxed_math.span_of(text, lambda text, start: last_box(text, start) or last_statement(text, start))


def last_statement(text: str, start: int = 0) -> tuple[int, str] | None:
    """The last stated answer of `text` after `start`: (where the statement begins, the answer); None without one.

    >>> last_statement("So the final answer to this is $18 a day, since she eats 3.")
    (13, '18 a day')
    """
    statements = list(_STATEMENT.finditer(text, start))
    if not statements:
        return None
    found = statements[-1]
    if display := _DISPLAY.match(text, found.end()):
        said = display[1] or display[2] or ""
    else:
        begin = found.end()
        if not text[begin : _line_end(text, begin)].strip(" \t*_`"):
            next_line = _NEXT_LINE.match(text, begin)
            begin = next_line.end() if next_line else begin
        said = text[begin : _line_end(text, begin)]
        end = _SENTENCE_END.search(said)
        said = said[: end.start()] if end else said
    answer = _AROUND.sub("", said)
    return (found.start(), answer) if 0 < len(answer) <= MAX_STATED_CHARS else None


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end
