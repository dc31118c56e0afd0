"""From an episode to the arrays an update learns from: reward, advantage, weight, packed.

The first half is one jitted function over arrays, which a notebook can call; the second half packs on the host, since
how many rows a batch needs depends on its lengths.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.agents import constraints
from jaxreason.agents.episode import Episode
from jaxreason.config import ROLES, Config, GRPOConfig, RewardConfig, of_each_role
from jaxreason.grpo import advantage, batch, loss
from jaxreason.ops.chunks import to_tokens
from jaxreason.parallel.rules import everywhere, place
from jaxreason.rewards.combine import score
from jaxreason.rewards.importance import RatioState
from jaxreason.rewards.methods import PresetSpec
from jaxreason.types import Advantages, Chunks, Metrics, Params, Rewards, Scores, TrainState, UpdateBatch, pytree

SHOWN = 0.01
"""Advantage of a right score that is shown. At 1, a scorer that is sure of itself is corrected so hard wherever the
yardstick sees a little differently that the policy, which it shares, forgot how to reason within thirty steps."""


@pytree
class Outcome:
    """What the reward looks at: an episode without its text."""

    correct: jax.Array  # bool [P G]
    gradable: jax.Array  # bool [P G]
    length_y: jax.Array  # int32 [P G], tokens of the reasoning text
    length: dict[str, jax.Array]  # role -> int32 [P G], tokens of the whole completion
    finished: dict[str, jax.Array]  # role -> bool [P G]
    chunks: Chunks | None
    scores: Scores | None
    frozen_value: jax.Array | None  # float32 [P G K], expected scores of the frozen scorer
    contribution: jax.Array | None = None  # float32 [P G K], nats, negative where not measured
    score_at: jax.Array | None = None  # int32 [P G T] of whoever scores, see `constraints.score_places`


def outcome(
    episode: Episode,
    frozen_value_PGK: np.ndarray | None,
    truth: tuple[Chunks, Scores] | None = None,
    contribution_PGK: np.ndarray | None = None,
) -> Outcome:
    """The arrays of an episode, problems split over the mesh: a group's statistics need no communication.

    `truth` stands in for the helpers' answers, see `agents.oracle`.
    """
    shape = episode.shape
    chunks = None if episode.segmentation is None else episode.segmentation.chunks
    scores = None if episode.scoring is None else episode.scoring.scores
    if truth is not None:
        chunks, scores = truth
    seen: Any = {
        "correct": episode.grades.correct.reshape(shape),
        "gradable": episode.grades.gradable.reshape(shape),
        "length_y": np.array([len(r.ids) for r in episode.reasonings], np.int32).reshape(shape),
        "length": {role: rollout.length for role, rollout in episode.rollouts.items()},
        "finished": {role: rollout.finished for role, rollout in episode.rollouts.items()},
        "chunks": chunks,
        "scores": scores,
        "frozen_value": frozen_value_PGK,
        "contribution": contribution_PGK,
        "score_at": None,
    }
    if contribution_PGK is not None:
        (scorer,) = {"score", "annotate"} & set(episode.rollouts)
        candidates = episode.rollouts[scorer].candidates
        if candidates is not None:
            seen["score_at"] = constraints.score_places(np.asarray(candidates), contribution_PGK.shape[-1])
    return place(Outcome(**seen), "batch")


def signal(
    seen: Outcome,
    alpha: jax.Array,
    ratio: RatioState,
    key: jax.Array,
    *,
    reward: RewardConfig,
    grpo: GRPOConfig,
    preset: PresetSpec,
    max_length: int,
    widths: tuple[tuple[str, int], ...],
) -> tuple[Rewards, Advantages, RatioState]:
    """Rewards and advantages of one step, for every role that is updated.

    Args:
      alpha: float32 scalar, weight of the length penalty now.
      ratio: running share of |y| that is penalised.
      key: for presets that shuffle.
      max_length: the reasoner's token limit.
      widths: (role, T) of the rollouts.
    """
    # Compiled once for all alphas and phis: the configuration's own are not read behind this line.
    same = RewardConfig()
    fixed = dataclasses.replace(
        reward,
        alpha=same.alpha,
        alpha_warmup_steps=0,
        target_tokens=0.0,
        target_reduction=0.0,
        target_steps=0,
        phi=same.phi,
    )
    phi = jnp.asarray(reward.phi, jnp.float32)
    return _signal(
        seen, alpha, phi, ratio, key, reward=fixed, grpo=grpo, preset=preset, max_length=max_length, widths=widths
    )


@functools.partial(jax.jit, static_argnames=("reward", "grpo", "preset", "max_length", "widths"))
def _signal(
    seen: Outcome, alpha, phi, ratio: RatioState, key, *, reward: RewardConfig, grpo, preset, max_length, widths
):
    rewards, ratio, keep = score(
        correct_PG=seen.correct,
        gradable_PG=seen.gradable,
        length_y_PG=seen.length_y,
        length_PG=seen.length["reason"],
        finished_PG=seen.finished["reason"],
        chunks=seen.chunks,
        scores=seen.scores,
        frozen_value_PGK=seen.frozen_value,
        contribution_PGK=seen.contribution,
        alpha=alpha,
        phi=phi,
        ratio=ratio,
        config=reward,
        preset=preset,
        max_length=max_length,
        key=key,
    )
    # Whoever was asked wrote something; a helper whose prompt was too long was not asked.
    keep = {role: kept & (seen.length[role] > 0) for role, kept in keep.items()}
    tokens = {}
    for role, total_PG in rewards.total.items():
        if grpo.mask_truncated_completions:
            keep = keep | {role: keep[role] & seen.finished[role]}
        weight = preset.terms[role].penalty
        if weight and "penalty" in rewards.parts:
            cost_PG = weight * alpha * rewards.parts["penalty"]
            paying_PG = rewards.parts["accuracy"] > 0 if reward.gate == "among_correct" else keep[role]
            if role == "reason" and grpo.credit == "chunk" and rewards.charged is not None:
                assert seen.chunks is not None  # what is charged are their scored chunks
                assert seen.scores is not None
                tokens[role] = advantage.chunk_credit(
                    total_PG + cost_PG,
                    cost_PG,
                    jnp.maximum(rewards.charged, 0.0),  # centred weights can be negative
                    seen.chunks.valid & seen.scores.valid & seen.finished[role],
                    seen.chunks.chunk_id,
                    seen.length[role],
                    keep[role],
                    paying_PG,
                    scale=grpo.scale_rewards,
                )
                continue
            if reward.gate == "among_correct":
                advantage_PG = advantage.length_relative(
                    total_PG + cost_PG, cost_PG, keep[role], paying_PG, scale=grpo.scale_rewards
                )
                tokens[role] = advantage.broadcast(advantage_PG, seen.length[role], dict(widths)[role])
                continue
        taught = preset.terms[role].contribution
        if taught and seen.score_at is not None:
            assert seen.scores is not None  # they were judged
            assert seen.contribution is not None
            form_PG = total_PG - taught * rewards.parts["contribution"]
            form_PG = advantage.group_relative(form_PG, keep[role], scale=grpo.scale_rewards)
            judged_PGK = (seen.scores.value > 0) & (seen.contribution >= 0) & keep[role][..., None]
            # The right scores stand there when the update comes, see `teaching`: all of them are to become likelier.
            shown_PGT = to_tokens(jnp.where(judged_PGK, taught * SHOWN, 0.0), seen.score_at)
            tokens[role] = advantage.broadcast(form_PG, seen.length[role], dict(widths)[role]) + shown_PGT
            continue
        advantage_PG = advantage.group_relative(total_PG, keep[role], scale=grpo.scale_rewards)
        tokens[role] = advantage.broadcast(advantage_PG, seen.length[role], dict(widths)[role])
    return everywhere((rewards, Advantages(token=tokens, keep=keep), ratio))


@dataclasses.dataclass(frozen=True)
class Packing:
    """What the packed batches of a run look like."""

    shapes: tuple[batch.Shape, ...]
    num_candidates: int
    with_ref: bool


@dataclasses.dataclass(frozen=True)
class Learner:
    """One policy that is updated: its compiled functions, which take packed batches as NumPy."""

    prefix: str  # of the metrics about its whole update
    roles: tuple[str, ...]  # that it plays and learns from
    update: Callable[[TrainState, UpdateBatch], tuple[TrainState, Metrics]]
    reference: Callable[[Params, UpdateBatch], jax.Array]  # log-probabilities under other parameters
    packing: Packing


def pack_updates(
    episode: Episode,
    advantages: Advantages,
    limits: dict[str, int],
    config: Config,
    learner: Learner,
    start: Params | None,
) -> list[UpdateBatch]:
    """One packed batch of a learner's rows for each mini-batch of problems, with the reference's log-probabilities.

    A token without advantage and without KL teaches nothing; rows that hold only such tokens are left out, which
    changes no sum (the weights count them) and saves their forward and backward passes.

    Args:
      limits: role -> token limit, for loss_type dr_grpo.
      start: the learner's parameters before step 0, where there is KL.
    """
    P, _ = episode.shape
    grpo, packing = config.grpo, learner.packing
    token = {role: token_PGT for role, token_PGT in advantages.token.items() if role in learner.roles}
    result = []
    for part in batch.mini_batches(P, grpo.num_mini_batches):
        keep = {role: advantages.keep[role][part] for role in token}
        weights = loss.normalised_role_weights(dict(zip(ROLES, of_each_role(grpo.role_weights), strict=True)), keep)
        sequences = []
        for role, token_PGT in token.items():
            rollout, asked = episode.rollouts[role], episode.prompts[role]
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
        packed = batch.pack(sequences, shape, num_candidates=packing.num_candidates)
        if packing.with_ref:
            ref_logp: Any = np.asarray(learner.reference(start, packed))
            packed = dataclasses.replace(packed, ref_logp=ref_logp)
        result.append(packed)
    return result


def learn(
    learners: Sequence[Learner], states: Sequence[TrainState], batches: Sequence[Sequence[UpdateBatch]]
) -> tuple[list[TrainState], dict[str, tuple[float, float]]]:
    """Update each policy on its batches; nothing more is updated once a loss was no number.

    Args:
      states: of the learners; donated.

    Returns:
      New states, and the metrics of all of them as (sum, count): those of a role under the role's name, those of a
      whole update behind its learner's prefix, and `not_finite` over all.
    """
    states, total = list(states), {}
    for i, (learner, packed) in enumerate(zip(learners, batches, strict=True)):
        failed = False
        for batch_ in packed:
            states[i], found = learner.update(states[i], batch_)
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
