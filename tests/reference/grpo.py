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


def policy_loss(case, config):
    """The loss, and its derivative with respect to logp; `case` holds arrays [B S], some of them may be missing."""
    logp, weight, shape = case["logp"], case["weight"], case["logp"].shape
    trainer = case.get("trainer_logp")
    old = case["old_logp"] if trainer is None else trainer
    loss, grad = 0.0, np.zeros(shape)
    for b, s in np.ndindex(*shape):
        if weight[b, s] == 0:
            continue
        a = case["advantage"][b, s]
        mine = [t for t in range(shape[1]) if weight[b, t] > 0 and case["segments"][b, t] == case["segments"][b, s]]
        over = mine if config.importance_sampling_level == "sequence" else [s]
        ratio = math.exp(sum(logp[b, t] - old[b, t] for t in over) / len(over))
        factor = weight[b, s]
        if trainer is not None:
            level, bound = config.importance_sampling_correction.split("_")
            low, high = config.importance_sampling_clip_min, config.importance_sampling_clip_max
            between = mine if level == "sequence" else [s]
            used = math.exp(sum(trainer[b, t] - case["old_logp"][b, t] for t in between))
            factor *= min(max(used, low), high) if bound == "truncate" else used * (low <= used <= high)
        if config.loss_type == "cispo":
            held = min(ratio, 1 + config.epsilon_high)
            loss -= factor * held * a
            grad[b, s] -= factor * held * a
        else:
            clipped = min(max(ratio, 1 - config.epsilon), 1 + config.epsilon_high)
            loss -= factor * min(ratio * a, clipped * a)
            if ratio * a <= clipped * a:
                for t in over:
                    grad[b, t] -= factor * ratio * a / len(over)
        beta = (*config.beta, config.beta[-1])[case["role"][b, s]]
        if case.get("ref_logp") is not None:
            gap = case["ref_logp"][b, s] - logp[b, s]
            loss += weight[b, s] * beta * (math.exp(gap) - gap - 1)
            grad[b, s] += weight[b, s] * beta * (1 - math.exp(gap))
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
                        "cispo": sum(kept),
                        "dr_grpo": len(kept) * max_completion_length,
                    }[loss_type]
                )
    return result
