"""The arrays that pass between rooms, and the letters of their axes.

One letter has one meaning everywhere:

    P problems in a step      G rollouts a problem       N rows (often P*G)
    R roles                   L prompt tokens            T completion tokens
    S tokens of a packed row  K chunks a completion      A candidate tokens of a constraint
    V vocabulary              D width                    Y layers
    H query heads             J kv heads                 C head size
    M micro-batches           B a generic batch row

A length, everywhere, is a number of tokens. A mask comes from lengths, never from a token's value.
This module must not know what a policy, a role or a reward is.
"""

import dataclasses
import functools
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np

Params = Any
"""A nested dict of arrays."""

Array = jax.Array | np.ndarray
"""NumPy on the host, where text is read and rows are packed; JAX from where a jitted function is entered."""

Metrics = dict[str, tuple[jax.Array, jax.Array]]
"""Metric name -> (sum, count). Divided once, on the host, so that sharding and micro-batches change nothing."""

SEGMENT_NONE = 0
"""Segment id of the unused tail of a packed row; sequences are numbered from 1."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
def pytree(cls):
    """Make a class a frozen dataclass that JAX traverses; every field is a child, but those that are `static`."""
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, kw_only=True)(cls))


def static() -> Any:
    """A field of a `pytree` class that a program is compiled for: hashable, and no array."""
    return dataclasses.field(metadata={"static": True})


Tree = TypeVar("Tree")


def on_host(kind: type[Tree], **arrays: Any) -> Tree:
    """A pytree class over NumPy arrays: made on the host, read in jitted functions, where they are JAX's."""
    return kind(**arrays)


@pytree
class PromptBatch:
    """Rendered prompts of one role, left-padded so that every row's last token sits at L-1."""

    tokens: jax.Array  # int32 [P L]
    length: jax.Array  # int32 [P], 1..L


@pytree
class Lift:
    """How much likelier than the policy has it one token is made wherever there is a choice that it is part of.

    A part of the distribution that is sampled from: sampler and trainer add it by the same `ops.logprob.lifted`.
    """

    token: jax.Array  # int32, [N] in a Constraint and [] in an UpdateBatch
    logit: jax.Array  # float32, the same shape; added to the token's logit before the temperature divides it


@pytree
class Constraint:
    """A finite-state machine for each row, as data: what may be sampled next, and where that leads.

    State 0 is the start. In state s the row may emit token[n, s, a] for every a with token >= 0, and moves to
    next[n, s, a]. A state with a single edge is forced: its log-probability is 0. Edges are filled from a = 0 on,
    and a state that a row can reach has at least one.
    """

    token: jax.Array  # int32 [N states A], -1 where there is no edge
    next: jax.Array  # int32 [N states A]
    lift: Lift | None = None  # [N]; None leaves the policy's own odds


@pytree
class Rollout:
    """Sampled completions on the device, as the engine returns them. Past `length`: the pad id, and logp 0."""

    tokens: jax.Array  # int32 [P G T]
    length: jax.Array  # int32 [P G], tokens before the pad, the end-of-sequence token included
    logp: jax.Array  # float32 [P G T], nats, of the distribution really sampled from
    finished: jax.Array  # bool [P G], True when an end-of-sequence token was sampled
    candidates: jax.Array | None = None  # int32 [P G T A]: what a constraint allowed; None when decoding was free


@pytree
class HostRollout:
    """The same in NumPy: what text is read from and rows are packed from."""

    tokens: np.ndarray  # int32 [P G T]
    length: np.ndarray  # int32 [P G]
    logp: np.ndarray  # float32 [P G T]
    finished: np.ndarray  # bool [P G]
    candidates: np.ndarray | None = None  # int32 [P G T A]

    @classmethod
    def of(cls, rollout: Rollout) -> "HostRollout":
        """A rollout fetched from the device; waits until it is made."""
        return cls(**jax.device_get(vars(rollout)))

    @functools.cached_property
    def completion_ids(self) -> list[list[int]]:
        """Each row's tokens without the end token and the padding; rows in the order P, G. Found once."""
        rows_NT = self.tokens.reshape(-1, self.tokens.shape[-1])
        ends_N = (self.length - self.finished).reshape(-1)
        return [row[:end].tolist() for row, end in zip(rows_NT, ends_N, strict=True)]


@pytree
class Chunks:
    """A completion's reasoning text y, split losslessly. Where valid, length sums to |y| along K."""

    chunk_id: jax.Array  # int32 [P G T], 0..K-1, and K where a token belongs to no chunk
    length: jax.Array  # int32 [P G K], tokens
    characters: jax.Array  # int32 [P G K], the same chunk counted in characters
    mask: jax.Array  # bool [P G K], True for a chunk that exists
    valid: jax.Array  # bool [P G]


@pytree
class Scores:
    """Importance of each chunk."""

    value: jax.Array  # int32 [P G K], 1..5 where the row is valid and the chunk exists, else 0
    valid: jax.Array  # bool [P G]


@pytree
class Rewards:
    """Rewards of one step."""

    total: dict[str, jax.Array]  # role -> float32 [P G]
    parts: dict[str, jax.Array]  # name -> float32 [P G], for the log
    charged: jax.Array | None = None  # float32 [P G K], phi |s| of each chunk that is charged; None without chunks
    closing: jax.Array | None = None  # float32 [P G], advantage of its own of the token behind y; None: nobody's
    needless: jax.Array | None = None  # float32 [P G], the total of the tokens of y behind its necessary prefix
    token: jax.Array | None = (
        None  # float32 [P G T], the reasoner's advantages themselves; None: they follow from total
    )
    masked: jax.Array | None = None  # bool [P G], kept in the reasoner's statistics but not in its loss; None: none is


@pytree
class Advantages:
    """What the loss is weighted by. A row with keep False is left out of the loss."""

    token: dict[str, jax.Array]  # role -> float32 [P G T]
    keep: dict[str, jax.Array]  # role -> bool [P G]


@pytree
class UpdateBatch:
    """Rows of all roles, several sequences packed to a row, in M micro-batches of B rows.

    `weight` carries the loss aggregation: the loss is sum(weight * per-token loss), so micro-batches add up exactly.
    """

    tokens: jax.Array  # int32 [M B S]
    positions: jax.Array  # int32 [M B S], from 0 inside each sequence
    segments: jax.Array  # int32 [M B S], SEGMENT_NONE in the unused tail
    role: jax.Array  # int32 [M B S], role id of the sequence; 0 in the tail
    weight: jax.Array  # float32 [M B S], 0 on prompts and tail; entry s is about predicting tokens[s]
    advantage: jax.Array  # float32 [M B S]
    old_logp: jax.Array  # float32 [M B S], when sampled
    ref_logp: jax.Array | None  # float32 [M B S], only where some role has beta > 0
    candidates: jax.Array | None  # int32 [M B S A], -1 filled; all -1 where decoding was free
    num_micro: jax.Array  # int32 [], how many of the M micro-batches hold anything
    lift: Lift | None = None  # [], of all candidates; None where no draw was lifted
    trainer_logp: jax.Array | None = None  # float32 [M B S], the trainer's before the update; only for a correction


@pytree
class TrainState:
    """Everything an update changes."""

    step: jax.Array  # int32 []
    params: Params
    opt_state: Any
