r"""Mathematics answered in a box: asked for reasoning step by step, answered in `\boxed{}`, graded by value.

Its three functions are what `tasks.base.Task` does where a task says nothing else. Starts no JAX.
"""

import re
from collections.abc import Callable

from jaxreason.data.problems import Problem
from jaxreason.grading import answers
from jaxreason.grading.answers import Verdict
from jaxreason.grading.boxes import last_box
from jaxreason.tasks.reading import Span

INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
THINK, END_THINK = "<think>", "</think>"
BOX = "\\boxed{"
SYMBOLS = ("\n", BOX, "}", "+", "-", "*", "=", *map(str, range(10)))
"""What a tokenizer trained for such a task should hold as single tokens."""
LEAD_IN = 40
"""Characters that may stand before the box on a line that still counts as the answer line, if none is a digit."""


def messages(problem: Problem) -> list[dict[str, str]]:
    """One user's turn: the question and the instruction."""
    return [{"role": "user", "content": f"{problem.question}\n\n{INSTRUCTION}"}]


def grade(answer: str, problem: Problem) -> Verdict:
    """Whether an answer is the problem's by value, see `grading.answers`."""
    return answers.grade(answer, problem.answer, problem.question)


def read(text: str) -> Span:
    """Find the reasoning y and the boxed answer of a completion.

    The answer is the content of the last balanced `\\boxed{}`: after the last `</think>` where one stands (a box inside
    the thought is then not the answer), else anywhere. y is everything before the answer line, the thought and the
    visible text alike: if only the thought counted, the same reasoning would be free behind it. Without an answer y is
    everything. The tags that open and close the thought are not part of y, nor a thought of white space, nor white
    space between the thought and the answer line.

    The answer line is the line of the box, so that the answer itself is never penalised. It begins at the box, not at
    the line, when more than LEAD_IN characters or any digit stand before it: otherwise reasoning written without line
    breaks would be free. Degenerate: an answer given at once has an empty y.

    >>> text = "2+3=5\\nSo \\\\boxed{5}"
    >>> read(text)
    Span(start=0, end=6, answer='5', mark=None)
    >>> read("a</think>b\\n\\\\boxed{5}")
    Span(start=0, end=11, answer='5', mark=(1, 9))
    """
    return span_of(text, last_box)


def span_of(text: str, find: Callable[[str, int], tuple[int, str] | None]) -> Span:
    """Where y and the answer lie, by the rule of `read`.

    Args:
      find: (text, start) -> where the answer begins after `start`, and the answer; None where there is none.
    """
    opening = re.match(rf"\s*{THINK}\s*", text)
    start = opening.end() if opening else 0
    thought = text.rfind(END_THINK, start)
    if thought < 0:
        end, answer = _before_answer(text, start, find)
        return Span(start, end, answer)
    visible = thought + len(END_THINK)
    end, answer = _before_answer(text, visible, find)
    if not text[visible:end].strip():
        return Span(start, thought, answer)
    if not text[start:thought].strip():
        return Span(visible + len(text[visible:end]) - len(text[visible:end].lstrip()), end, answer)
    return Span(start, end, answer, (thought, visible))


def _before_answer(text: str, start: int, find: Callable) -> tuple[int, str | None]:
    """Where the answer line begins after `start`, and the answer; the end of the text where there is none."""
    found = find(text, start)
    if found is None:
        return len(text), None
    at, answer = found
    line = max(text.rfind("\n", 0, at) + 1, start)
    lead = text[line:at]
    return line if len(lead) <= LEAD_IN and not any(c.isdigit() for c in lead) else at, answer
