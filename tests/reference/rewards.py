"""Rewards as plain loops over NumPy arrays, one response at a time."""

import numpy as np


def charged_lengths(case, *, phi, invalid, ratio_sum, ratio_count, decay, centred=False):
    """What every response pays for, and the new running sums; follows the specification's words."""
    problems, rollouts = case["finished"].shape
    weighted = np.zeros((problems, rollouts))
    usable = case["finished"] & case["segment_valid"] & case["score_valid"]
    ratios = []
    for p in range(problems):
        for g in range(rollouts):
            if not usable[p, g]:
                continue
            scored = [k for k in range(case["scores"].shape[2]) if case["scores"][p, g, k] > 0]
            weights = {k: phi[case["scores"][p, g, k] - 1] for k in scored}
            if centred and scored:
                centre = sum(weights.values()) / len(scored)
                weights = {k: w - centre + 0.5 for k, w in weights.items()}
            weighted[p, g] = max(0.0, sum(w * case["chunk_length"][p, g, k] for k, w in weights.items()))
            if case["y"][p, g] > 0:
                ratios.append(weighted[p, g] / case["y"][p, g])
    if ratios:
        ratio_sum = ratio_sum * decay + sum(ratios)
        ratio_count = ratio_count * decay + len(ratios)
    mean_ratio = ratio_sum / ratio_count if ratio_count else 1.0
    charged = np.zeros((problems, rollouts))
    for p in range(problems):
        for g in range(rollouts):
            y = case["y"][p, g]
            if not case["finished"][p, g]:
                charged[p, g] = y
            elif usable[p, g]:
                charged[p, g] = weighted[p, g]
            else:
                charged[p, g] = {"running_mean": mean_ratio * y, "zero": 0.0, "full": y}[invalid]
    return charged, ratio_sum, ratio_count


def agreement(live, frozen, lengths, valid):
    """Minus the token-weighted mean gap over 4, row by row."""
    result = np.zeros(valid.shape)
    for index in np.ndindex(*valid.shape):
        gaps, tokens = 0.0, 0
        for k in range(live.shape[-1]):
            if valid[index] and live[index][k] > 0 and frozen[index][k] > 0:
                gaps += lengths[index][k] * abs(live[index][k] - frozen[index][k])
                tokens += lengths[index][k]
        result[index] = -gaps / tokens / 4 if tokens else 0.0
    return result
