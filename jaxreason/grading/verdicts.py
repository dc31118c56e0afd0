r"""Is a final answer right? Host code on strings: rules by the form of the answer first, math-verify where they end.

Three outcomes, never two: `right`, `wrong`, and `error` when the grader (or the gold answer) is what failed. This
module knows neither tokens nor rewards, imports no jax, and imports math-verify and sympy only where they are needed.
math-verify has no time limit here, so text from a model goes through `pool.grade_batch`.

The rules, each with an example that is right and one that is wrong, are in docs/grading.md. `latex` reads an answer,
`forms` says what form it has, `units` and `algebra` know units and values, `compare` holds the rules.
"""

import dataclasses
import logging
import re
from functools import lru_cache
from typing import Literal, NamedTuple

from jaxreason.grading import forms, latex, nodes
from jaxreason.grading.boxes import MAX_ANSWER_CHARS
from jaxreason.grading.compare import compare
from jaxreason.grading.reading import read
from jaxreason.grading.rules import UNFINISHED, Rules

_INTEGER = re.compile(r"[+-]?\d+")
_THOUSANDS = re.compile(r"-?\d{1,3}(?:, ?\d{3})+")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one answer."""

    outcome: Literal["right", "wrong", "error"]  # error: not the answer's fault; the sample is to be masked
    grader: Literal["none", "string", "rules", "math_verify", "tests"]  # what settled it
    status: str  # "ok", or the reason in a word or two


def grade(prediction: str | None, gold: str, question: str = "") -> Verdict:
    """Grade one extracted answer in this process and without a time limit: for trusted text, and inside a worker.

    Args:
      prediction: the answer as `boxed` returns it; None (no answer) is wrong.
      gold: the right answer, bare, in dollars or boxed.
      question: what was asked, where known; only rules about percentages, ratios and units that one side leaves out
        look at it.
    """
    return quick(prediction, gold, question) or symbolic(prediction or "", gold, question)


def quick(prediction: str | None, gold: str, question: str = "") -> Verdict | None:
    """Grade by what needs no sympy, in time linear in the lengths; None where only math-verify can tell."""
    answer, right = (prediction or "").strip(), gold.strip()
    if not right or len(right) > MAX_ANSWER_CHARS:
        return Verdict("error", "none", "bad_gold")
    if not answer:
        return Verdict("wrong", "none", "no_answer")
    if len(answer) > MAX_ANSWER_CHARS:
        return Verdict("wrong", "none", "too_long")
    if _INTEGER.fullmatch(right) and _INTEGER.fullmatch(answer):
        return Verdict("right" if int(answer) == int(right) else "wrong", "rules", "ok")
    return _by_rules(answer, right, Rules(compare, question))


def symbolic(prediction: str, gold: str, question: str = "") -> Verdict:
    """Grade as `quick`, and ask math-verify where that cannot tell; what it raises there is an `error`."""
    asker = _Asker()
    verdict = _by_rules(prediction.strip(), gold.strip(), Rules(compare, question, asker))
    if asker.failure:
        return asker.failure
    if verdict is None:  # a part that math-verify was not asked about, since another unsure one came first
        return Verdict("wrong", "math_verify", "unsure")
    return dataclasses.replace(verdict, grader="math_verify") if asker.asked else verdict


def normalise(answer: str) -> str:
    r"""An answer in one canonical spelling, without what never matters: dollars, an outer box, `\left`, spacing.

    >>> normalise(r" $\boxed{\dfrac{1}{10,\!080}}$. ")
    '\\frac{1}{10080}'
    """
    try:
        return nodes.write(latex.parse(answer))
    except latex.LatexError:
        return answer.strip()


def _by_rules(answer: str, right: str, rules: Rules) -> Verdict | None:
    gold = _read(right)
    if not gold.forms:
        same = answer == right and bool(gold.spelling)
        return Verdict("right", "string", "ok") if same else Verdict("error", "none", "bad_gold")
    found = _read(answer)
    if not found.forms:
        return Verdict("wrong", "rules", "unreadable")
    if found.spelling == gold.spelling or not set(found.forms).isdisjoint(gold.forms):
        return Verdict("right", "string", "ok")
    verdicts = [rules.same(reading, target) for reading in found.forms for target in gold.forms]
    if True in verdicts:
        return Verdict("right", "rules", "ok")
    return None if None in verdicts else Verdict("wrong", "rules", "ok")


class _Reading(NamedTuple):
    """The forms that an answer can have (none: it cannot be read), and its canonical spelling."""

    forms: tuple[forms.Form, ...]
    spelling: str


@lru_cache(maxsize=8192)
def _read(text: str) -> _Reading:
    """Read an answer; `100,200` is a number, and may be a list."""
    try:
        parsed = latex.parse(text)
        if not parsed:
            return _Reading((), "")
        spelling = nodes.squeeze(parsed)
        if not _THOUSANDS.fullmatch(text):
            return _Reading((read(parsed),), spelling)
        items = text.replace(" ", "").split(",")
        found = [read(latex.parse("".join(items)))]
        if not any(item.startswith("0") for item in items):
            found.append(forms.Bag(tuple(read(latex.parse(item)) for item in items)))
        return _Reading(tuple(found), spelling)
    except (latex.LatexError, forms.FormError, RecursionError):
        return _Reading((), text)


class _Asker:
    """Asks math-verify about two expressions; remembers whether it was asked, and the first failure of its own."""

    def __init__(self):
        self.asked = False
        self.failure: Verdict | None = None

    def __call__(self, answer: str, gold: str, readable: bool) -> bool | None:
        import math_verify

        self.asked = True
        if UNFINISHED.search(answer) and not UNFINISHED.search(gold):
            return False
        # It warns once a call that its own timeout is off; the pool bounds the time from outside.
        logging.getLogger("math_verify").setLevel(logging.ERROR)
        try:
            right = _parsed(gold)
        except Exception:
            right = []
        if not right and readable:
            return False
        if not right:
            self.failure = self.failure or Verdict("error", "math_verify", "bad_gold")
            return None
        try:
            found = _parsed(answer)
        except (MemoryError, ImportError) as error:
            self.failure = self.failure or Verdict("error", "math_verify", type(error).__name__)
            return None
        except Exception:
            found = []
        if not found:
            return False
        try:
            return math_verify.verify(right, found, timeout_seconds=None, raise_on_error=True)
        except Exception as error:
            self.failure = self.failure or Verdict("error", "math_verify", type(error).__name__)
            return None


def _parsed(expression: str) -> list:
    import math_verify

    extraction = [math_verify.LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]
    return math_verify.parse(
        "\\boxed{" + expression + "}",
        extraction_config=extraction,
        fallback_mode="no_fallback",
        parsing_timeout=None,  # type: ignore[arg-type]
        raise_on_error=True,
    )
