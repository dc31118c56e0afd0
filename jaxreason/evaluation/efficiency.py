"""Measures that weigh accuracy against tokens, and two policies against each other. NumPy only; nothing is decoded.

Arrays are over Q problems and k samples of each, as in `metrics`. A length is tokens of the whole completion; papers
that count the thought alone get smaller numbers.
"""

from collections.abc import Callable, Hashable, Sequence

import chex
import numpy as np

from jaxreason.evaluation.metrics import Estimate

AES = (1.0, 3.0, 5.0)
"""What tokens saved, accuracy gained and accuracy lost weigh in the efficiency score; always to be named beside it."""
RESAMPLES = 2000
"""Of a bootstrap."""


def efficiency_score(
    base: tuple[float, float], trained: tuple[float, float], weights: tuple[float, float, float] = AES
) -> float | None:
    """AES, the accuracy efficiency score: w dL + b dA where accuracy rose, w dL - g |dA| where it fell.

    dL = (L0 - L) / L0 is the share of tokens saved, dA = (A - A0) / A0 the relative change of accuracy.

    Args:
      base: accuracy in 0..1 (or percent, in both) and mean tokens before.
      trained: the same after.
      weights: w, b and g.

    Returns:
      None where the start has no right answer or no token, so that nothing is relative to it.

    Source: arXiv:2501.12570 (1, 3, 5); others use 1, 5, 10.

    >>> round(efficiency_score((45.21, 9340), (47.78, 4000)), 3)
    0.742
    """
    (accuracy0, tokens0), (accuracy, tokens) = base, trained
    if accuracy0 <= 0 or tokens0 <= 0:
        return None
    saved, gained = (tokens0 - tokens) / tokens0, (accuracy - accuracy0) / accuracy0
    w, b, g = weights
    return w * saved + (b if gained >= 0 else g) * gained


def area_under_budgets(correct_Qk: np.ndarray, length_Qk: np.ndarray, limit: float) -> float:
    """Mean accuracy over all token budgets from 0 to `limit`, an answer counting where it is right within the budget.

    The area under accuracy at a budget, over the limit: a right answer of L tokens adds max(0, 1 - L / limit), a wrong
    one nothing. 1 is reached by right answers of no length only.

    Raises:
      ValueError: a limit that is not above 0.

    Source: AUC of the overthinking-adjusted accuracy, OptimalThinkingBench, arXiv:2508.13141, where the limit is 1000
    and the tokens are those of the thought.

    >>> area_under_budgets(np.array([[True, False]]), np.array([[250, 10]]), 1000)
    0.375
    """
    chex.assert_equal_shape([correct_Qk, length_Qk])
    if not limit > 0:
        raise ValueError(f"limit: expected above 0 tokens, got {limit!r}")
    return float((correct_Qk * np.clip(1 - length_Qk / limit, 0, None)).mean(axis=1).mean())


def f1(area: float, accuracy: float) -> float:
    """Harmonic mean of the area on easy problems and the accuracy on hard ones; 0 where either is.

    Source: arXiv:2508.13141.
    """
    return 2 * area * accuracy / (area + accuracy) if area > 0 and accuracy > 0 else 0.0


def majority(answer_Qk: Sequence[Sequence[Hashable | None]], correct_Qk: np.ndarray) -> np.ndarray:
    """Whether each problem's most frequent answer is right, float [Q]; maj@k is the mean.

    Answers that are the same string vote together; None does not vote. Among answers of equally many votes each is
    taken equally often, so a problem can be right by a share. One without any answer is wrong. An answer is right where
    any sample that gave it counts as right (one that was cut at the limit does not).

    Source: self-consistency, arXiv:2203.11171.

    >>> majority([["7", "8", "7"], ["1", "2", None]], np.array([[True, False, True], [True, False, False]])).tolist()
    [1.0, 0.5]
    """
    chex.assert_rank(correct_Qk, 2)
    right_Q = np.zeros(len(correct_Qk))
    for q, (answers, correct_k) in enumerate(zip(answer_Qk, correct_Qk, strict=True)):
        votes: dict[Hashable, int] = {}
        right = set()
        for answer, correct in zip(answers, correct_k, strict=True):
            if answer is not None:
                votes[answer] = votes.get(answer, 0) + 1
                right |= {answer} if correct else set()
        most = max(votes.values(), default=0)
        winners = [answer for answer, count in votes.items() if count == most]
        right_Q[q] = sum(winner in right for winner in winners) / max(1, len(winners))
    return right_Q


def hypervolume(points: Sequence[tuple[float, float]], tokens: float) -> float:
    """The area of accuracy and tokens saved that a set of policies covers, as a share of all that there is, 0..1.

    A policy of accuracy A and L tokens covers all accuracies up to A at all token counts from L up to `tokens`, the
    reference point (usually the starting policy's); one that uses more tokens covers nothing. The start itself is not a
    point, so a policy that is no better than it scores 0.

    Args:
      points: (tokens, accuracy in 0..1) of each policy.
      tokens: of the reference, above 0.

    Raises:
      ValueError: a reference that is not above 0.

    Source: the hypervolume indicator, Zitzler and Thiele 1999, for two objectives.

    >>> hypervolume([(50, 0.9), (25, 0.8), (60, 0.7)], 100)
    0.65
    """
    if not tokens > 0:
        raise ValueError(f"tokens: expected a reference above 0, got {tokens!r}")
    area, right = 0.0, tokens
    # From the most accurate on, each policy adds the strip between its tokens and the shortest one so far.
    for length, accuracy in sorted(points, key=lambda point: (-point[1], point[0])):
        if length < right:
            area += (right - length) * accuracy
            right = length
    return area / tokens


def paired_bootstrap(
    base: tuple[np.ndarray, np.ndarray],
    trained: tuple[np.ndarray, np.ndarray],
    statistic: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate | None:
    """A figure of two policies on the same problems, with the 95 % interval of resampled problems.

    Problems are drawn with replacement, the same for both policies, so that what is hard for both cancels. The interval
    is between the 2.5 and 97.5 percentiles.

    Args:
      base: correct_Qk and length_Qk of one policy.
      trained: the same of the other, problems in the same order; the number of samples may differ.
      statistic: of four arrays [...], accuracy and mean tokens of the one and of the other, elementwise; may be NaN.
      seed: of the draws.

    Returns:
      None where the statistic of all problems is not a number; without interval where a resample's is not, or where
      there is one problem.

    Raises:
      ValueError: another number of problems, or none.

    Source: Efron and Tibshirani 1993; paired as in Koehn 2004.
    """
    (right0_Qk, length0_Qk), (right_Qk, length_Qk) = base, trained
    if not len(right0_Qk) == len(right_Qk) > 0:
        raise ValueError(f"paired_bootstrap: expected the same problems, got {len(right0_Qk)} and {len(right_Qk)}")
    parts_4Q = np.stack([x.mean(axis=1) for x in (right0_Qk, length0_Qk, right_Qk, length_Qk)])
    value = float(statistic(*parts_4Q.mean(axis=1)))
    if not np.isfinite(value):
        return None
    Q = parts_4Q.shape[1]
    if Q < 2:
        return Estimate(value, None, None, None)
    share_BQ = np.random.default_rng(seed).multinomial(Q, np.full(Q, 1 / Q), size=resamples) / Q
    drawn_B = np.asarray(statistic(*(parts_4Q @ share_BQ.T)))
    if not np.isfinite(drawn_B).all():
        return Estimate(value, None, None, None)
    low, high = np.percentile(drawn_B, [2.5, 97.5])
    return Estimate(value, float(drawn_B.std(ddof=1)), float(low), float(high))


def score_of_change(base: tuple[np.ndarray, np.ndarray], trained: tuple[np.ndarray, np.ndarray]) -> Estimate | None:
    """AES of a training, with the interval of a paired bootstrap; None where the start has no right answer."""

    def score(accuracy0, tokens0, accuracy, tokens):
        with np.errstate(divide="ignore", invalid="ignore"):
            saved, gained = (tokens0 - tokens) / tokens0, (accuracy - accuracy0) / accuracy0
            return AES[0] * saved + np.where(gained >= 0, AES[1], AES[2]) * gained

    return paired_bootstrap(base, trained, score)
