"""Which steps of a chain on a word problem are needed, by rule: what yardsticks of importance are held against.

A step is needed where it brings a result that was not known and is used later: a number behind `=`, or in bold or in a
box, that stands neither in the question nor in an earlier step, and does in a later one. It is needless where it
brings no new number and is of a known kind: it repeats the question, an equation or a result, announces or plans what
comes, or goes on after the answer was reached. Other steps have no label: the rules are to be sure, not to cover all.
"""

import re

NEEDED = "result"
NEEDLESS = ("question", "repeats", "announces", "plans", "after")
NONE = ""

_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w]*[a-zA-Z]\w*\d)")
_VALUE = r"(\d[\d,]*(?:\.\d+)?)"
_RESULT = re.compile(
    rf"(?:=|≈|\\approx)\s*[\\${{(\[ ]*(?:text\{{)?[$€£]?\s*-?{_VALUE}|\*\*\D{{0,3}}{_VALUE}|\\boxed\{{\D{{0,3}}{_VALUE}"
)
_ANNOUNCE = re.compile(
    r"\b(let'?s|let us|we (need|can|will|have|must|should)|to (find|determine|solve|calculate|figure)|here'?s|here is|"
    r"follow|the following|step[- ]by[- ]step|break (it|this) down|first|next|now|then|finally)\b",
    re.IGNORECASE,
)
_PLAN = re.compile(r"\s*(#+|\*\*|[-*+] |\(?\d{1,2}[.)]|step \d+)", re.IGNORECASE)
_COMMON = frozenset(
    "the and for are was were has have had how many much does did with that this from each who what".split()
)
QUESTION_SHARE = 0.7


def numbers(text: str) -> set[float]:
    """All numbers of a text, by value."""
    return {float(found.replace(",", "")) for found in _NUMBER.findall(text) if found.replace(",", "")}


def results(text: str) -> set[float]:
    """Numbers that a text presents as results."""
    found = [next(filter(None, groups)) for groups in _RESULT.findall(text)]
    return {abs(float(number.replace(",", ""))) for number in found}


def label(question: str, steps: list[str], answer: str) -> list[str]:
    """The label of each step.

    Args:
      answer: text behind the steps.
    """
    known, had, reached = numbers(question), set(), False
    final = results(answer) | numbers(answer)
    found = []
    for k, step in enumerate(steps):
        new = {n for n in results(step) if n not in known and n not in had}
        later = set().union(*(numbers(text) for text in [*steps[k + 1 :], answer]))
        if new & later:
            kind = NEEDED
        elif numbers(step) - known - had - _enumeration(step):
            kind = NONE
        else:
            kind = _needless(step, question, had, reached)
        found.append(kind)
        had |= results(step)
        reached = reached or bool(final & (had - known))
    return found


def _needless(step: str, question: str, had: set[float], reached: bool) -> str:
    if results(step) or (had & numbers(step)):
        return "repeats"
    words = {w for w in re.findall(r"[a-z]{3,}", step.lower()) if w not in _COMMON}
    asked = set(re.findall(r"[a-z]{3,}", question.lower()))
    if len(words) >= 3 and len(words & asked) >= QUESTION_SHARE * len(words):
        return "question"
    if reached:
        return "after"
    if _ANNOUNCE.search(step) and "=" not in step:
        return "announces"
    if _PLAN.match(step) and "=" not in step:
        return "plans"
    return NONE


def _enumeration(step: str) -> set[float]:
    """The number of an item, or of a step, which says nothing."""
    return {float(n) for n in re.findall(r"(?:^|\n)\W*(?:step )?(\d{1,2})[.):]", step, re.IGNORECASE)}


def auc(value, positive) -> float:
    """Chance that a positive has the larger value than a negative, ties counted half; nan without both."""
    import numpy as np

    value, positive = np.asarray(value, float), np.asarray(positive, bool)
    if not positive.any() or positive.all():
        return float("nan")
    above = value[positive][:, None] - value[~positive][None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())
