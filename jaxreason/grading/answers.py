"""The grader as the rest of the project calls it: extract an answer, grade it, audit the golds of a file."""

from jaxreason.grading.audit import audit
from jaxreason.grading.boxes import MAX_ANSWER_CHARS, boxed
from jaxreason.grading.verdicts import Verdict, grade, normalise, quick, symbolic

__all__ = ["MAX_ANSWER_CHARS", "Verdict", "audit", "boxed", "grade", "normalise", "quick", "symbolic"]
