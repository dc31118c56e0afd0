"""The target length L_T where it follows the policy: a quantile of the lengths of right answers.

What is remembered is plain JSON on the host, the same on every one, and stands in every checkpoint.
"""

from typing import Any

import numpy as np

from jaxreason.config import RewardConfig


def follow(
    memory: dict[str, Any], right_PG: np.ndarray, length_PG: np.ndarray, config: RewardConfig, limit: int
) -> tuple[int, dict[str, Any]]:
    """The target of a step, and the memory after it.

    L_T is the shortest length that a share of at least `target_quantile` of the right answers does not exceed, over
    all problems of the last `target_window` steps, this one among them: with a quantile of 0.9, about a tenth of the
    right answers is too long in every step, however short they have become. Never below target_length, nor above the
    limit. Without a right answer in these steps it stays where it was; at first that is the limit.

    Args:
      memory: of the steps before, {} at the start: `lengths`, of the right answers, a list a step, and `target`.
      right_PG: bool.
      length_PG: tokens of the whole completions.
      limit: L_R, the token limit.

    Returns:
      L_T in tokens, and what the next step gets as its memory.

    Source: arXiv:2602.20945, section 4 on an adaptive target, whose target is the 90 % quantile of right rollouts. It
    says nothing of a window, a floor or how quantiles are interpolated; these are this project's.
    """
    steps = [*memory.get("lengths", []), np.sort(length_PG[right_PG]).tolist()][-config.target_window :]
    lengths = [tokens for step in steps for tokens in step]
    target = memory.get("target", limit)
    if lengths:
        target = int(np.quantile(lengths, config.target_quantile, method="inverted_cdf"))
    target = min(max(target, config.target_length), limit)
    return target, {"lengths": steps[1:] if len(steps) == config.target_window else steps, "target": target}
