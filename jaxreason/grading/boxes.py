r"""Where a completion answers: the last `\boxed{}` that is closed. One pass, so thousands of open boxes are cheap.

This is the only extraction in the project. Rules, each with what public graders do by their documentation:

- *The last box counts.* lm-evaluation-harness (`last_boxed_only_string`) takes the last as well. An earlier answer is
  taken back by it, so naming two gains nothing over naming the second.
- *Boxes side by side are one list*: `\boxed{5} or \boxed{6}` answers `5, 6`, which is right where both are asked for
  and wrong where one is.
- *Only after the last `</think>`.* A box inside the thought is no answer.
- *A box that is never closed is passed over* for the closed one before it: the model was cut at its token limit while
  it repeated itself, and the earlier box is the last answer it finished. The harness gives up there.
- *Braces nest, escaped ones do not count*: `\boxed{\{1\}}` holds a set; `\\boxed{5}` is a line break before a word.
"""

import re

MAX_ANSWER_CHARS = 300
"""A longer answer is not read: no benchmark's gold is near it, and sympy's time grows fast with length."""

_BRACES = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_MAX_GAP = 30
_GAP = re.compile(r"[\s,;$]*(?:(?:\\text\{\s*)?(?:and|or)(?:\s*\})?)?(?:\\q?quad)?[\s$]*")
_END_THINK = "</think>"


def last_box(text: str, start: int = 0) -> tuple[int, str] | None:
    r"""The answer box of `text` after `start`: (where it begins, its stripped content); None where none is closed.

    It is the box that begins last among the closed ones, with those right before it that only a comma or a conjunction
    parts from it; several different contents make one list.

    >>> last_box(r"\boxed{3}, no: \boxed {\frac{1}{2}} and \boxed{4")
    (15, '\\frac{1}{2}')
    >>> last_box(r"\boxed{5} or \boxed{6}")
    (0, '5, 6')
    """
    open_braces: list[re.Match] = []
    boxes: list[tuple[int, int, str]] = []
    for match in _BRACES.finditer(text, start):
        symbol = match.group()
        if symbol == "{" or symbol.startswith("\\boxed"):
            open_braces.append(match)
        elif symbol == "}" and open_braces:
            opener = open_braces.pop()
            if opener.group() != "{" and (not boxes or opener.start() > boxes[-1][0]):
                boxes.append((opener.start(), match.end(), text[opener.end() : match.start()].strip()))
    if not boxes:
        return None
    at, _, content = boxes.pop()
    contents = {content: None}
    while boxes and at - boxes[-1][1] <= _MAX_GAP and _GAP.fullmatch(text, boxes[-1][1], at):
        at, _, content = boxes.pop()
        contents[content] = None
    return at, ", ".join(reversed(contents))


def boxed(text: str) -> str | None:
    r"""The content of the last closed `\boxed{}` after the last `</think>`; None where there is none.

    An answer of more than MAX_ANSWER_CHARS characters is None as well.

    >>> boxed(r"\boxed{4}</think>so \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    thought = text.rfind(_END_THINK)
    found = last_box(text, 0 if thought < 0 else thought + len(_END_THINK))
    return found[1] if found and len(found[1]) <= MAX_ANSWER_CHARS else None
