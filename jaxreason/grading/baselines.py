"""Two simpler graders that this project's is compared with: string comparison, and math-verify as it comes.

No verdict of a run rests on them. They show readers how much of a score the grader decides.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from jaxreason.grading.answers import MAX_ANSWER_CHARS, Verdict

if TYPE_CHECKING:
    from jaxreason.grading.pool import Pool


class Baselines(NamedTuple):
    """Verdicts of N answers; what fails or takes too long is not right."""

    string: list[bool]
    math_verify: list[bool] | None  # None without worker processes


def judge(predictions: Sequence[str | None], golds: Sequence[str], pool: "Pool | None") -> Baselines:
    """Judge N extracted answers by both; math-verify runs in the pool, equal pairs once.

    Args:
      predictions: answers as `answers.boxed` returns them.
      golds: right answers, as long as predictions.
      pool: None, or one of no workers: strings alone are compared.

    Raises:
      ValueError: predictions and golds differ in length.
    """
    pairs = list(zip(predictions, golds, strict=True))
    strings = [string_match(prediction, gold) for prediction, gold in pairs]
    if pool is None or pool.num_workers == 0:
        return Baselines(strings, None)
    asked = [(p, g) for p, g in dict.fromkeys(pairs) if p and max(len(p), len(g)) <= MAX_ANSWER_CHARS]
    found = zip(asked, pool.verify(asked, "math_verify_alone"), strict=True)
    right: set[tuple[str | None, str]] = {pair for pair, verdict in found if verdict.outcome == "right"}
    return Baselines(strings, [pair in right for pair in pairs])


def string_match(prediction: str | None, gold: str) -> bool:
    """Whether an answer is the gold to the letter, dollars and space around either aside. None is wrong.

    >>> string_match("2 n", "$2 n$"), string_match("1/2", "0.5")
    (True, False)
    """
    return prediction is not None and bare(prediction) == bare(gold) != ""


def math_verify_alone(prediction: str, gold: str) -> Verdict:
    """math-verify with its defaults, both sides in a box. Without a time limit: inside a worker only."""
    import math_verify

    def read(answer: str) -> list:
        return math_verify.parse("\\boxed{" + bare(answer) + "}", parsing_timeout=None)  # type: ignore[arg-type]

    same = math_verify.verify(read(gold), read(prediction), timeout_seconds=None)
    return Verdict("right" if same else "wrong", "math_verify", "ok")


def bare(answer: str) -> str:
    """An answer without the space and dollars around it."""
    text = answer.strip()
    while len(text) > 2 and text[0] == text[-1] == "$":
        text = text[1:-1].strip()
    return text
