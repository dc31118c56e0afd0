"""Advantages and the policy loss as plain loops over NumPy arrays, in float64."""

import math

import numpy as np


def group_relative(reward, keep, scale, eps=1e-6):
    """Advantages; groups without two different kept rewards are 0."""
    result = np.zeros(reward.shape)
    everything = [reward[i] for i in np.ndindex(*reward.shape) if keep[i]]
    for p in range(len(reward)):
        kept = [reward[p, g] for g in range(reward.shape[1]) if keep[p, g]]
        if len(kept) < 2 or max(kept) == min(kept):
            continue
        mean = sum(kept) / len(kept)
        pool = {"group": kept, "batch": everything, "none": None}[scale]
        divisor = 1.0 if pool is None else float(np.std(pool)) + eps
        for g in range(reward.shape[1]):
            if keep[p, g]:
                result[p, g] = (reward[p, g] - mean) / divisor
    return result


def length_relative(outcome, cost, keep, paying, scale, eps=1e-6):
    """Outcome against the kept rows, cost against the paying ones; groups without two different totals are 0."""
    result = np.zeros(outcome.shape)
    total = outcome - cost
    everything = [total[i] for i in np.ndindex(*total.shape) if keep[i]]
    for p in range(len(outcome)):
        rows = [g for g in range(outcome.shape[1]) if keep[p, g]]
        if len(rows) < 2 or max(total[p, rows]) == min(total[p, rows]):
            continue
        pool = {"group": total[p, rows], "batch": everything, "none": None}[scale]
        divisor = 1.0 if pool is None else float(np.std(pool)) + eps
        payers = [g for g in rows if paying[p, g]]
        for g in rows:
            result[p, g] = outcome[p, g] - outcome[p, rows].mean()
            if g in payers:
                result[p, g] -= cost[p, g] - cost[p, payers].mean()
            result[p, g] /= divisor
    return result


def chunk_credit(outcome, cost, share, split, chunk_id, length, keep, paying, scale, eps=1e-6):
    """Token advantages with the cost placed on the chunks that caused it."""
    problems, rollouts = chunk_id.shape[:2]
    num_chunks = share.shape[-1]
    result = np.zeros(chunk_id.shape)
    total = outcome - cost
    everything = [total[i] for i in np.ndindex(*total.shape) if keep[i]]
    for p in range(problems):
        rows = [g for g in range(rollouts) if keep[p, g]]
        if len(rows) < 2 or max(total[p, rows]) == min(total[p, rows]):
            continue
        pool = {"group": total[p, rows], "batch": everything, "none": None}[scale]
        divisor = 1.0 if pool is None else float(np.std(pool)) + eps
        chunk_cost = np.zeros((rollouts, num_chunks))
        for g in rows:
            if share[p, g].sum() > 0:
                chunk_cost[g] = cost[p, g] * share[p, g] / share[p, g].sum()
        payers = [g for g in rows if paying[p, g]]
        split_rows = [g for g in payers if split[p, g]]
        base = chunk_cost[split_rows].mean(0) if split_rows else np.zeros(num_chunks)
        for g in rows:
            for t in range(length[p, g]):
                k = chunk_id[p, g, t]
                if g not in payers:
                    saved = 0.0
                elif not split[p, g]:
                    saved = cost[p, payers].mean() - cost[p, g]
                elif k < num_chunks:
                    saved = base[k] - chunk_cost[g, k]
                else:
                    present = set(chunk_id[p, g, : length[p, g]])
                    saved = sum(base[j] for j in range(num_chunks) if j not in present)
                result[p, g, t] = (outcome[p, g] - outcome[p, rows].mean() + saved) / divisor
    return result


def policy_loss(logp, old_logp, advantage, weight, epsilon, epsilon_high, beta=None, ref_logp=None):
    """The loss, and its derivative with respect to logp."""
    loss, grad = 0.0, np.zeros(logp.shape)
    for i in np.ndindex(*logp.shape):
        if weight[i] == 0:
            continue
        ratio = math.exp(logp[i] - old_logp[i])
        clipped = min(max(ratio, 1 - epsilon), 1 + epsilon_high)
        loss -= weight[i] * min(ratio * advantage[i], clipped * advantage[i])
        if ratio * advantage[i] <= clipped * advantage[i]:
            grad[i] -= weight[i] * ratio * advantage[i]
        if beta is not None:
            gap = ref_logp[i] - logp[i]
            loss += weight[i] * beta[i] * (math.exp(gap) - gap - 1)
            grad[i] += weight[i] * beta[i] * (1 - math.exp(gap))
    return loss, grad


def token_weights(length, keep, role_weight, loss_type, max_completion_length, num_tokens):
    """Weights, from the definition of each aggregation."""
    result = np.zeros((*length.shape, num_tokens))
    kept = [length[i] for i in np.ndindex(*length.shape) if keep[i]]
    for i in np.ndindex(*length.shape):
        for t in range(length[i]):
            if keep[i]:
                result[i][t] = (
                    role_weight
                    / {
                        "grpo": len(kept) * length[i],
                        "dapo": sum(kept),
                        "dr_grpo": len(kept) * max_completion_length,
                    }[loss_type]
                )
    return result
