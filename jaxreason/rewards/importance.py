"""The importance-weighted length of SCMA, arXiv:2601.21919: f(sum_i phi(w_i) |s_i|), and what stands in for it.

A response whose helpers failed has no weighted length. It is charged the share of |y| that other responses are
charged on average, so that neither the reasoner pays for its helpers' errors nor breaking them is a way out.
"""

from collections.abc import Sequence
from typing import Literal

import chex
import jax
import jax.numpy as jnp

from jaxreason.ops import masked
from jaxreason.types import Chunks, pytree

RATIO_DECAY = 0.9
"""What a step keeps of the running sums: a memory of about ten steps."""


@pytree
class RatioState:
    """Decayed sums behind the running mean of L / |y|; part of a run's state."""

    sum: jax.Array  # float32 []
    count: jax.Array  # float32 []


def initial_ratio() -> RatioState:
    """Nothing seen yet; `ratio_of` gives 1."""
    return RatioState(sum=jnp.zeros((), jnp.float32), count=jnp.zeros((), jnp.float32))


def ratio_of(state: RatioState) -> jax.Array:
    """Running mean of L / |y|, float32 []; 1 before anything was seen.

    Sum and count decay alike, so ratios that were all 1 give 1 to the last bit, also where the hardware divides
    approximately: what is divided is the share that was spared, which is then 0.
    """
    return 1.0 - masked.ratio(state.count - state.sum, state.count)


def update_ratio(state: RatioState, ratio_PG: jax.Array, mask_PG: jax.Array) -> RatioState:
    """Take in one step's ratios where the mask is True; a step without any changes nothing."""
    chex.assert_rank([ratio_PG, mask_PG], 2)
    total, count = masked.sum_count(ratio_PG, mask_PG)
    decay = jnp.where(count > 0, RATIO_DECAY, 1.0)
    return RatioState(sum=state.sum * decay + total, count=state.count * decay + count)


def phi_of(value_PGK: jax.Array, phi: Sequence[float] | jax.Array, *, centred: bool = False) -> jax.Array:
    """Penalty weight of each chunk, from its score.

    Args:
      value_PGK: int, scores 1..5; 0 for a chunk that does not exist or was not scored, which weighs 0.
      phi: five weights, of importance 1 to 5.
      centred: subtract the mean over the response's chunks and add 0.5, so that calling everything important (or
        nothing) gives every chunk 0.5. Such weights can be negative.

    Returns:
      float32 [P G K].
    """
    chex.assert_rank(value_PGK, 3)
    chex.assert_type(value_PGK, int)
    table = jnp.concatenate([jnp.zeros(1, jnp.float32), jnp.asarray(phi, jnp.float32)])
    phi_PGK = jnp.take(table, value_PGK, mode="fill")
    if not centred:
        return phi_PGK
    scored_PGK = value_PGK > 0
    mean_PG1 = masked.mean(phi_PGK, scored_PGK, axis=-1, keepdims=True)
    return jnp.where(scored_PGK, phi_PGK - mean_PG1 + 0.5, 0.0)


def weighted_length(length_PGK: jax.Array, phi_PGK: jax.Array) -> jax.Array:
    """sum_i phi_i |s_i|, float32 [P G], in the unit of the lengths; 0 for a response without chunks.

    Centred weights can make the sum negative; it stops at 0, or lengthening an important chunk would earn something.

    >>> weighted_length(jnp.array([[[10.0, 4.0]]]), jnp.array([[[0.0, 0.75]]])).tolist()
    [[3.0]]
    """
    chex.assert_rank([length_PGK, phi_PGK], 3)
    chex.assert_equal_shape([length_PGK, phi_PGK])
    chex.assert_type([length_PGK, phi_PGK], float)
    return jnp.maximum(jnp.sum(length_PGK * phi_PGK, axis=-1), 0.0)


def measure(
    chunks: Chunks, length_y_PG: jax.Array, usable_PG: jax.Array, unit: Literal["tokens", "characters"]
) -> tuple[jax.Array, jax.Array]:
    """Lengths of the chunks and of y, float32 [P G K] and [P G], in tokens or in characters expressed as tokens.

    Characters are divided by the batch's mean number of characters a token, over the usable rows. That is the same as
    scaling L_max by this number, and it leaves rows whose characters nobody counted, those without a valid split, in
    the same unit as the others. Without a usable row there is nothing to convert.
    """
    y_PG = length_y_PG.astype(jnp.float32)
    if unit == "tokens":
        return chunks.length.astype(jnp.float32), y_PG
    chosen_PGK = chunks.mask & usable_PG[..., None]
    characters, _ = masked.sum_count(chunks.characters, chosen_PGK)
    tokens, _ = masked.sum_count(chunks.length, chosen_PGK)
    tokens_a_character = masked.ratio(tokens, characters, empty=1.0)
    length_PGK = jnp.where(chosen_PGK, chunks.characters.astype(jnp.float32), 0.0) * tokens_a_character
    return length_PGK, jnp.where(usable_PG, jnp.sum(length_PGK, axis=-1), y_PG)


def charged_length(
    weighted_PG: jax.Array,
    y_PG: jax.Array,
    usable_PG: jax.Array,
    finished_PG: jax.Array,
    state: RatioState,
    *,
    invalid: Literal["running_mean", "zero", "full"],
) -> tuple[jax.Array, RatioState]:
    """The length each response pays for.

    Args:
      weighted_PG: float, sum phi |s|; read where usable.
      y_PG: float, |y| in the same unit.
      usable_PG: bool, both helpers answered validly.
      finished_PG: bool; a response that was cut has no helpers and pays |y| in full.
      state: running mean of L / |y|; this step's usable rows enter it before it is read.
      invalid: what a finished response without usable helpers pays: the running share of |y|, 0, or |y|.

    Returns:
      float32 [P G] and the new state.
    """
    chex.assert_rank([weighted_PG, y_PG, usable_PG, finished_PG], 2)
    chex.assert_equal_shape([weighted_PG, y_PG, usable_PG, finished_PG])
    usable_PG = usable_PG & finished_PG
    ratio_PG = 1.0 - masked.ratio(y_PG - weighted_PG, y_PG)  # exactly 1 where L = |y|, see `ratio_of`
    state = update_ratio(state, ratio_PG, usable_PG & (y_PG > 0))
    share = {"running_mean": ratio_of(state), "zero": 0.0, "full": 1.0}[invalid]
    unusable_PG = jnp.where(finished_PG, share * y_PG, y_PG)
    return jnp.where(usable_PG, weighted_PG, unusable_PG), state


def shuffle_scores(key: jax.Array, value_PGK: jax.Array, mask_PGK: jax.Array) -> jax.Array:
    """Permute the scores inside each response, among its existing chunks only; the others keep their place.

    A control: the scores' distribution stays and what they say about the text is lost.
    """
    chex.assert_rank([value_PGK, mask_PGK], 3)
    chex.assert_equal_shape([value_PGK, mask_PGK])
    num_chunks = value_PGK.shape[-1]
    order_PGK = jnp.broadcast_to(jnp.arange(num_chunks, dtype=jnp.float32), value_PGK.shape)
    random_PGK = jax.random.uniform(key, value_PGK.shape)
    # Both orders list the existing chunks first and the others after them as they stand.
    target_PGK = jnp.argsort(jnp.where(mask_PGK, order_PGK - num_chunks, order_PGK), axis=-1)
    source_PGK = jnp.argsort(jnp.where(mask_PGK, random_PGK - 1.0, order_PGK), axis=-1)
    moved_PGK = jnp.take_along_axis(value_PGK, source_PGK, axis=-1)
    return jnp.put_along_axis(value_PGK, target_PGK, moved_PGK, axis=-1, inplace=False)
