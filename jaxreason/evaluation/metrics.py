"""Figures of an evaluation, from three arrays over Q problems and k samples of each. NumPy only; nothing is decoded.

The problem is the unit of chance: samples of one problem are alike, so every standard error is clustered by problem
(the spread of per-problem means), and two evaluations of the same problems are compared pair by pair. Intervals are of
95 % and for the problems asked: they say nothing of another training seed.
"""

import dataclasses
from collections.abc import Hashable, Sequence

import chex
import numpy as np

Z95 = 1.959964


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over problems and what is known of it. None where there are too few problems to tell."""

    value: float
    stderr: float | None
    low: float | None
    high: float | None


def summarize(correct_Qk: np.ndarray, length_Qk: np.ndarray, finished_Qk: np.ndarray) -> dict[str, float | None]:
    """The figures of one evaluation.

    Args:
      correct_Qk: bool.
      length_Qk: int, tokens of each completion.
      finished_Qk: bool, False where a completion was cut at the limit.

    Returns:
      problems, samples; accuracy (Mean@k: the mean over problems of the share of right samples) with accuracy_stderr,
      accuracy_low, accuracy_high; pass_at_1, 2, 4, ... k; mean_tokens with mean_tokens_stderr; mean_tokens_correct,
      mean_tokens_wrong; truncation_rate. None where nothing was counted, such as the length of right answers when there
      is none.

    Raises:
      ValueError: no problem.
    """
    _check(correct_Qk, length_Qk, finished_Qk)
    num_problems, num_samples = correct_Qk.shape
    right = accuracy(correct_Qk)
    tokens = mean_over_problems(length_Qk.mean(axis=1))
    return {
        "problems": num_problems,
        "samples": num_samples,
        "accuracy": right.value,
        "accuracy_stderr": right.stderr,
        "accuracy_low": right.low,
        "accuracy_high": right.high,
        **{f"pass_at_{k}": pass_at(correct_Qk, k) for k in _powers_of_two(num_samples)},
        "mean_tokens": tokens.value,
        "mean_tokens_stderr": tokens.stderr,
        "mean_tokens_correct": _mean(length_Qk[correct_Qk]),
        "mean_tokens_wrong": _mean(length_Qk[~correct_Qk]),
        "truncation_rate": float(np.mean(~finished_Qk)),
    }


def summarize_by(
    labels_Q: Sequence[Hashable], correct_Qk: np.ndarray, length_Qk: np.ndarray, finished_Qk: np.ndarray
) -> dict[Hashable, dict[str, float | None]]:
    """`summarize` for the problems of each label (a level, a source), labels in the order in which they appear."""
    _check(correct_Qk, length_Qk, finished_Qk)
    if len(labels_Q) != len(correct_Qk):
        raise ValueError(f"labels: expected one for each of the {len(correct_Qk)} problems, got {len(labels_Q)}")
    rows = {}
    for label in dict.fromkeys(labels_Q):
        here_Q = np.array([other == label for other in labels_Q])
        rows[label] = summarize(correct_Qk[here_Q], length_Qk[here_Q], finished_Qk[here_Q])
    return rows


def accuracy(correct_Qk: np.ndarray) -> Estimate:
    """Mean@k, with Wilson's interval for as many independent answers as the clustered error is worth.

    Unlike value +- 2 errors it stays within 0 and 1 and does not shrink to a point when all are right. Where the
    samples of a problem always agree, it is the interval of Q answers; one problem has no error but has an interval.

    Source: Wilson 1927; effective sample size p (1 - p) / stderr^2 as in Korn and Graubard 1998.
    """
    chex.assert_rank(correct_Qk, 2)
    _some_problems(correct_Qk)
    mean = mean_over_problems(correct_Qk.mean(axis=1))
    p, stderr = mean.value, mean.stderr
    n = p * (1 - p) / stderr**2 if stderr else float(len(correct_Qk))
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * np.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return Estimate(p, stderr, max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def pass_at(correct_Qk: np.ndarray, k: int) -> float:
    """The chance that k samples of a problem hold a right one, unbiased from the samples there are.

    1 - C(n - c, k) / C(n, k) of c right samples in n, as a product, which does not overflow. Source: arXiv:2107.03374.

    Raises:
      ValueError: k is not in 1..n.

    >>> pass_at(np.array([[True, False, False, False]]), 2)
    0.5
    """
    chex.assert_rank(correct_Qk, 2)
    _some_problems(correct_Qk)
    n = correct_Qk.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"k: expected 1..{n}, the samples of a problem, got {k}")
    wrong_Q = n - correct_Qk.sum(axis=1)
    fail_Qk = np.maximum(wrong_Q[:, None] - np.arange(k), 0) / (n - np.arange(k))
    return float(1 - fail_Qk.prod(axis=1).mean())


def at_budgets(correct_Qk: np.ndarray, length_Qk: np.ndarray, budgets: Sequence[int]) -> dict[int, Estimate]:
    """Accuracy if an answer counted only when it is right within so many tokens, without generating anew.

    It is never above what a policy that knew its budget would reach. Source: arXiv:2602.20945, whose budget curves are
    of this kind.
    """
    chex.assert_equal_shape([correct_Qk, length_Qk])
    return {budget: accuracy(correct_Qk & (length_Qk <= budget)) for budget in budgets}


def default_budgets(limit: int) -> tuple[int, ...]:
    """Eighths of the token limit, for a curve.

    >>> default_budgets(160)
    (20, 40, 60, 80, 100, 120, 140, 160)
    """
    return tuple(dict.fromkeys(max(1, limit * i // 8) for i in range(1, 9)))


def compare(base: tuple[np.ndarray, np.ndarray], trained: tuple[np.ndarray, np.ndarray]) -> dict[str, Estimate]:
    """What training changed on the same problems, each compared with itself.

    Args:
      base: correct_Qk and length_Qk before.
      trained: the same after, problems in the same order; the number of samples may differ.

    Returns:
      accuracy (difference of shares), tokens (difference of mean tokens), tokens_relative (change of mean tokens as a
      share of before; None errors where before is 0), all after minus before.

    Raises:
      ValueError: another number of problems.
    """
    for correct_Qk, length_Qk in (base, trained):
        chex.assert_rank([correct_Qk, length_Qk], 2)
        chex.assert_equal_shape([correct_Qk, length_Qk])
    if len(base[0]) != len(trained[0]):
        raise ValueError(f"compare: expected the same problems, got {len(base[0])} and {len(trained[0])}")
    right_Q = trained[0].mean(axis=1) - base[0].mean(axis=1)
    before_Q, after_Q = base[1].mean(axis=1), trained[1].mean(axis=1)
    return {
        "accuracy": mean_over_problems(right_Q),
        "tokens": mean_over_problems(after_Q - before_Q),
        "tokens_relative": _relative_change(before_Q, after_Q),
    }


def mean_over_problems(value_Q: np.ndarray) -> Estimate:
    """A mean over problems with its normal interval; one problem has no error."""
    chex.assert_rank(value_Q, 1)
    _some_problems(value_Q)
    mean = float(value_Q.mean())
    if len(value_Q) < 2:
        return Estimate(mean, None, None, None)
    stderr = float(value_Q.std(ddof=1) / np.sqrt(len(value_Q)))
    return Estimate(mean, stderr, mean - Z95 * stderr, mean + Z95 * stderr)


def _relative_change(before_Q: np.ndarray, after_Q: np.ndarray) -> Estimate:
    """Ratio of means minus 1; its error by the delta method, from the pairs."""
    before = float(before_Q.mean())
    if before == 0:
        return Estimate(float("nan"), None, None, None)
    ratio = float(after_Q.mean()) / before
    spread = mean_over_problems((after_Q - ratio * before_Q) / before).stderr
    if spread is None:
        return Estimate(ratio - 1, None, None, None)
    return Estimate(ratio - 1, spread, ratio - 1 - Z95 * spread, ratio - 1 + Z95 * spread)


def _check(correct_Qk: np.ndarray, length_Qk: np.ndarray, finished_Qk: np.ndarray) -> None:
    chex.assert_rank([correct_Qk, length_Qk, finished_Qk], 2)
    chex.assert_equal_shape([correct_Qk, length_Qk, finished_Qk])
    chex.assert_type([correct_Qk, length_Qk, finished_Qk], [bool, int, bool])
    _some_problems(correct_Qk)


def _some_problems(array: np.ndarray) -> None:
    if array.size == 0:
        raise ValueError(f"evaluation: expected at least one problem and one sample, got an array of {array.shape}")


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def _powers_of_two(n: int) -> list[int]:
    """1, 2, 4, ... and n itself."""
    return sorted({1 << i for i in range(n.bit_length()) if 1 << i <= n} | {n})
