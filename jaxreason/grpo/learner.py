"""What learns: packed batches of a policy's rows, and its updates on them.

How many rows a batch needs depends on its lengths, so packing is host work; everything before it is `signal.py`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.config import ROLES, GRPOConfig, of_each_role
from jaxreason.grpo import batch, loss
from jaxreason.types import Advantages, HostRollout, Lift, Metrics, Params, PromptBatch, TrainState, UpdateBatch


class Answers(NamedTuple):
    """What one role was asked and wrote, or is shown: NumPy, a prompt a row or one for each group of rows."""

    prompts: PromptBatch
    rollout: HostRollout  # [P G ...]


@dataclasses.dataclass(frozen=True)
class Packing:
    """What the packed batches of a run look like."""

    shapes: tuple[batch.Shape, ...]
    num_candidates: int
    with_ref: bool
    with_trainer: bool = False  # whether a sampler that differs from the trainer is corrected


@dataclasses.dataclass(frozen=True)
class Learner:
    """One policy that is updated: its compiled functions, which take packed batches as NumPy."""

    prefix: str  # of the metrics about its whole update
    roles: tuple[str, ...]  # that it plays and learns from
    update: Callable[[TrainState, UpdateBatch, Params | None], tuple[TrainState, Metrics]]
    reference: Callable[[Params, UpdateBatch], jax.Array]  # log-probabilities under other parameters
    packing: Packing


def pack_updates(
    answers: Mapping[str, Answers],
    advantages: Advantages,
    limits: dict[str, int],
    grpo: GRPOConfig,
    learner: Learner,
    now: Params,
    start: Params | None,
    lift: Lift | None = None,
) -> list[UpdateBatch]:
    """One packed batch of a learner's rows for each mini-batch of problems, with whatever log-probabilities it needs.

    A token without advantage and without KL teaches nothing; rows that hold only such tokens are left out, which
    changes no sum (the weights count them) and saves their forward and backward passes.

    Args:
      answers: role -> its rows, at least of the roles that learn.
      limits: role -> token limit, for loss_type dr_grpo.
      now: the learner's policy before the update, read where a mismatch is corrected.
      start: the learner's policy before step 0, where there is KL.
      lift: see `batch.pack`.
    """
    packing = learner.packing
    token = {role: token_PGT for role, token_PGT in advantages.token.items() if role in learner.roles}
    P = len(next(iter(token.values())))
    result = []
    for part in batch.mini_batches(P, grpo.num_mini_batches):
        keep = {role: advantages.keep[role][part] for role in token}
        weights = loss.normalised_role_weights(dict(zip(ROLES, of_each_role(grpo.role_weights), strict=True)), keep)
        sequences = []
        for role, token_PGT in token.items():
            asked, rollout = answers[role]
            weight_PGT = np.asarray(
                loss.token_weights(
                    rollout.length[part],
                    keep[role],
                    role_weight=weights[role],
                    loss_type=grpo.loss_type,
                    max_completion_length=limits[role],
                    num_tokens=token_PGT.shape[2],
                )
            )
            advantage_PGT = np.asarray(token_PGT[part])
            if of_each_role(grpo.beta)[ROLES.index(role)] == 0:
                weight_PGT = weight_PGT * (advantage_PGT != 0).any(-1, keepdims=True)
            rows_a_problem = asked.tokens.shape[0] // P
            rows = slice(part.start * rows_a_problem, part.stop * rows_a_problem)
            sequences += batch.items(
                jax.tree.map(lambda x, rows=rows: x[rows], asked),
                jax.tree.map(lambda x, part=part: x[part], rollout),
                weight_PGT=weight_PGT,
                advantage_PGT=advantage_PGT,
                role=ROLES.index(role),
            )
        shape = batch.shape_for(sequences, packing.shapes)
        packed = batch.pack(sequences, shape, num_candidates=packing.num_candidates, lift=lift)
        if packing.with_ref:
            ref_logp: Any = np.asarray(learner.reference(start, packed))
            packed = dataclasses.replace(packed, ref_logp=ref_logp)
        if packing.with_trainer:
            trainer_logp: Any = np.asarray(learner.reference(now, packed))
            packed = dataclasses.replace(packed, trainer_logp=trainer_logp)
        result.append(packed)
    return result


def learn(
    learners: Sequence[Learner],
    states: Sequence[TrainState],
    batches: Sequence[Sequence[UpdateBatch]],
    starts: Sequence[Params | None],
) -> tuple[list[TrainState], dict[str, tuple[float, float]]]:
    """Update each policy on its batches; nothing more is updated once a loss was no number.

    Args:
      states: of the learners; donated.
      starts: the learners' policies before step 0, where something reads them.

    Returns:
      New states, and the metrics of all of them as (sum, count): those of a role under the role's name, those of a
      whole update behind its learner's prefix, and `not_finite` over all.
    """
    states, total = list(states), {}
    for i, (learner, packed, start) in enumerate(zip(learners, batches, starts, strict=True)):
        failed = False
        for batch_ in packed:
            states[i], found = learner.update(states[i], batch_, start)
            for name, (value, count) in jax.device_get(found).items():
                role = name.split("/")[0]
                if role in ROLES and role not in learner.roles:
                    continue
                key = name if role in ROLES or name == "not_finite" else learner.prefix + name
                before = total.get(key, (0.0, 0.0))
                total[key] = (before[0] + float(value), before[1] + float(count))
            failed = bool(total["not_finite"][0])
            if failed:
                break
        if failed:
            # The update that failed changed no parameter; nor shall it count as a step.
            states[i] = dataclasses.replace(states[i], step=states[i].step - 1)
            break
    return states, total
