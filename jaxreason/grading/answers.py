"""Is a final answer right? Host code on strings: exact comparison first, math-verify where that settles nothing.

Three outcomes, never two: `right`, `wrong`, and `error` when the grader (or the gold answer) is what failed. This
module knows neither tokens nor rewards, imports no jax, and imports math-verify and sympy only where they are needed.
math-verify has no time limit here, so text from a model goes through `pool.grade_batch`.

Known false rejections: a decimal of fewer than six digits for a fraction or for pi, `[1,2]` for `(1,2)`, numbers in
words, and an answer with a unit where the gold has none (or the reverse). Known false acceptance: a decimal that agrees
with the gold to six digits.
"""

import dataclasses
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

MAX_ANSWER_CHARS = 300
"""A longer answer is not read: no benchmark's gold is near it, and sympy's time grows fast with length."""

_INTEGER = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:,\d{3})+)")
_SPACING = re.compile(r"\\[!,;: ]|\\q?quad\b|~")
_SIZE = re.compile(r"\\(?:left|right)(?![a-zA-Z])")
_TEXT = re.compile(r"\\(?:text|textrm|textbf|mathrm|mbox)\{([^{}]*)\}")
_UNFINISHED = re.compile(r"\\(?:sum|prod|i+nt|oint|lim)(?![a-zA-Z])")
_ARITHMETIC = re.compile(r"[\d)}!]\s*(?:[+*-]|\\(?:cdot|times|div)\b)|!|\\d?binom\b")
_BASE = re.compile(r"\d\s*_")
_LIST = re.compile(r",|;|\\?\b(?:or|and)\b")
_RELATION = re.compile(r"[<>]|\\(?:leq?|geq?|lt|gt|neq?)(?![a-zA-Z])")
_UNIT = re.compile(r"\d\s*([A-Za-z]{2,}|\s[gmsLNJWVK]\b)")
_NO_UNIT = frozenset({"or", "and", "pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "mod"})


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of one answer."""

    outcome: Literal["right", "wrong", "error"]  # error: not the answer's fault; the sample is to be masked
    grader: Literal["none", "integer", "string", "math_verify"]  # what settled it
    status: str  # "ok", or the reason in a word or two


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{}` whose braces balance, after the last `</think>`; None where there is none.

    An answer of more than MAX_ANSWER_CHARS characters is None as well. An unclosed last box is passed over for the
    closed one before it.

    >>> boxed(r"\boxed{4}</think>so \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    text = text.rsplit("</think>", 1)[-1]
    end = len(text)
    while (start := text.rfind("\\boxed", 0, end)) >= 0:
        end = start
        rest = text[start + len("\\boxed") :].lstrip()
        if not rest.startswith("{"):
            continue
        close = _closing_brace(rest)
        if close is not None:
            answer = rest[1:close].strip()
            return answer if len(answer) <= MAX_ANSWER_CHARS else None
    return None


def grade(prediction: str | None, gold: str) -> Verdict:
    """Grade one extracted answer in this process and without a time limit: for trusted text, and inside a worker.

    Args:
      prediction: the answer as `boxed` returns it; None (no answer) is wrong.
      gold: the right answer, bare, in dollars or boxed.
    """
    return quick(prediction, gold) or symbolic(prediction or "", gold)


def quick(prediction: str | None, gold: str) -> Verdict | None:
    """Grade by what needs no algebra; None where only math-verify can tell.

    Equal strings are right, two integers are compared as integers, and an answer whose form cannot be that of the gold
    (an unevaluated sum, a list for a number, another unit) is wrong.
    """
    right, answer = normalise(gold), normalise(prediction or "")
    if not right or len(right) > MAX_ANSWER_CHARS:
        return Verdict("error", "none", "bad_gold")
    if not answer:
        return Verdict("wrong", "none", "no_answer")
    if len(answer) > MAX_ANSWER_CHARS:
        return Verdict("wrong", "none", "too_long")
    if answer == right:
        return Verdict("right", "string", "ok")
    whole = _INTEGER.fullmatch(right)
    if whole and _INTEGER.fullmatch(answer):
        return Verdict("right" if _integer(answer) == _integer(right) else "wrong", "integer", "ok")
    if whole and not any(c.isdigit() for c in answer):
        return Verdict("wrong", "string", "ok")
    if _is_words(right):
        # math-verify would read a word as a product of letters, and so accept an anagram.
        same = _unwrap(answer).casefold() == _unwrap(right).casefold()
        return Verdict("right" if same else "wrong", "string", "ok")
    reason = _wrong_form(answer, right)
    return Verdict("wrong", "string", reason) if reason else None


def symbolic(prediction: str, gold: str) -> Verdict:
    """Grade by math-verify alone. Anything it raises while reading the gold or comparing is an `error`."""
    import math_verify

    # It warns once a call that its own timeout is off; the pool bounds the time from outside.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    extraction = [math_verify.LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]

    def read(answer: str):
        return math_verify.parse(
            "\\boxed{" + answer + "}",
            extraction_config=extraction,
            fallback_mode="no_fallback",
            parsing_timeout=None,  # type: ignore[arg-type]
            raise_on_error=True,
        )

    try:
        right = read(normalise(gold))
    except Exception:
        right = []
    if not right:
        return Verdict("error", "math_verify", "bad_gold")
    try:
        answer = read(normalise(prediction))
    except (MemoryError, ImportError) as error:
        return Verdict("error", "math_verify", type(error).__name__)
    except Exception:
        answer = []
    if not answer:
        return Verdict("wrong", "math_verify", "unparsed")
    try:
        same = math_verify.verify(right, answer, timeout_seconds=None, raise_on_error=True)
    except Exception as error:
        return Verdict("error", "math_verify", type(error).__name__)
    return Verdict("right" if same else "wrong", "math_verify", "ok")


def audit(
    golds: Sequence[str], verify: Callable[[Sequence[tuple[str, str]]], Iterable[Verdict]] | None = None
) -> dict[int, str]:
    """Which gold answers cannot be graded: those that do not verify against themselves.

    Integers and words are compared as strings and need no audit.

    Args:
      golds: gold answers as `grade` takes them.
      verify: grades (prediction, gold) pairs by math-verify, such as `Pool.verify`, which bounds the time; None: here.

    Returns:
      Index into `golds` -> reason, in order; empty when all is well.
    """
    reasons: dict[int, str] = {}
    unsure: list[int] = []
    for i, gold in enumerate(golds):
        text = normalise(gold)
        if not text or len(text) > MAX_ANSWER_CHARS:
            reasons[i] = "empty" if not text else f"longer than {MAX_ANSWER_CHARS} characters"
        elif not (_INTEGER.fullmatch(text) or _is_words(text)):
            unsure.append(i)
    pairs = [(golds[i], golds[i]) for i in unsure]
    verdicts = verify(pairs) if verify else (symbolic(*pair) for pair in pairs)
    for i, verdict in zip(unsure, verdicts, strict=True):
        if verdict.outcome != "right":
            reasons[i] = f"does not verify against itself ({verdict.status})"
    return dict(sorted(reasons.items()))


def normalise(answer: str) -> str:
    r"""An answer without what never matters: dollars, an outer box, spacing commands, \left and \right, a full stop.

    >>> normalise(r" $\boxed{1{,}000}$. ")
    '1,000'
    """
    text = answer.strip().removesuffix(".").strip()
    while len(text) > 2 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    if text.startswith("\\boxed"):
        rest = text[len("\\boxed") :].lstrip()
        if rest.startswith("{") and _closing_brace(rest) == len(rest) - 1:
            text = rest[1:-1].strip()
    text = _SIZE.sub("", text.replace("{,}", ","))
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    return re.sub(r"\s+", " ", _SPACING.sub(" ", text)).strip().removesuffix(".")


def _closing_brace(text: str) -> int | None:
    r"""Index of the brace that closes the one `text` starts with. `\{` and `\}` are characters, not braces."""
    depth, i = 0, 0
    while i < len(text):
        if text[i] == "\\":
            i += 1
        elif text[i] in "{}":
            depth += 1 if text[i] == "{" else -1
            if depth == 0:
                return i
        i += 1
    return None


def _integer(text: str) -> int:
    return int(text.replace(",", ""))


def _unwrap(text: str) -> str:
    whole = _TEXT.fullmatch(text)
    return whole.group(1).strip() if whole else text


def _is_words(text: str) -> bool:
    """Whether an answer is text: all of it inside one text command, or letters only and too many for a product."""
    if _TEXT.fullmatch(text):
        return True
    return text.replace(" ", "").isalpha() and any(len(word) >= 4 for word in text.split())


def _wrong_form(answer: str, gold: str) -> str | None:
    """Why an answer's form cannot be right for this gold; these are the cases that math-verify lets through."""
    if _UNFINISHED.search(answer) and not _UNFINISHED.search(gold):
        return "unevaluated"
    if _INTEGER.fullmatch(gold) and _ARITHMETIC.search(answer):
        return "unevaluated"
    if bool(_BASE.search(answer)) != bool(_BASE.search(gold)):
        return "number_base"
    if ("%" in answer) != ("%" in gold):
        return "percent"
    if _units(answer) != _units(gold):
        return "unit"
    if _is_list(answer):
        if not _is_list(gold):
            # An interval has a comma, and an inequality is the same set without one.
            return None if _RELATION.search(gold) else "list"
        if (answer[0] in "([") != (gold[0] in "(["):
            return "brackets"
    return None


def _is_list(text: str) -> bool:
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", _TEXT.sub(r" \1 ", text))  # thousands' commas out
    return _LIST.search(text) is not None


def _units(text: str) -> tuple[str, ...]:
    found = (match.strip() for match in _UNIT.findall(_TEXT.sub(r" \1 ", text)))
    return tuple(unit for unit in found if unit not in _NO_UNIT)
