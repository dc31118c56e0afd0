"""The policy as pure functions of a parameter tree: init, logits, token_logp, read_prompts, decode.

Parameters are a plain nested dict. `layers` is a dict of the config's layer runs, "0", "1", .., and a run holds its
layers stacked along the first axis of every array. With adapters they are an `adapted.Adapted`, which every function
here takes as well. The policy never learns that roles or rewards exist.
"""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jaxreason.config import ModelConfig
from jaxreason.ops import attention, attention_paged, logprob
from jaxreason.ops.attention_paged import Places
from jaxreason.parallel.rules import gathered, shard, whole_width
from jaxreason.policy import moe
from jaxreason.policy.adapted import joined, merged
from jaxreason.policy.cache import Cache, hold, page_size, write, written
from jaxreason.policy.rope import rotation
from jaxreason.policy.transformer import Block, RMSNorm, Transformer
from jaxreason.types import Lift, Metrics, Params


def init(key: jax.Array, config: ModelConfig) -> Params:
    """Random parameters. Call it under jit with out_shardings to build them already sharded."""
    token = jnp.zeros((1, 1), jnp.int32)
    return Transformer(config).init(key, token, token, token)["params"]


def shapes(config: ModelConfig) -> Params:
    """The parameter tree of `init` as shapes and types, nothing allocated; a model is traced once for all calls."""
    return _INIT.eval_shape(config)


_INIT = jax.jit(lambda config: init(jax.random.key(0), config), static_argnums=0)


def num_params(params: Params) -> int:
    """Number of parameters."""
    return sum(x.size for x in jax.tree.leaves(params))


def head(params: Params, config: ModelConfig) -> jax.Array:
    """The output embedding [V D] in the type of the computation, gathered along its width once for all uses."""
    head_VD = joined(params)["embed_tokens" if config.tie_word_embeddings else "lm_head"].astype(config.dtype)
    return shard(head_VD, "vocab", None)


def hidden(params: Params, tokens_BS, positions_BS, segments_BS, *, config: ModelConfig) -> jax.Array:
    """Final hidden states [B S D] of packed rows."""
    return _forward(params, tokens_BS, positions_BS, segments_BS, config)[0]


def _forward(params, tokens_BS, positions_BS, segments_BS, config) -> Any:
    return Transformer(config).apply({"params": joined(params)}, tokens_BS, positions_BS, segments_BS)


def logits(params: Params, tokens_BS, positions_BS, segments_BS, *, config: ModelConfig) -> jax.Array:
    """Logits [B S V], float32; entry s is about the token after s. For tests and small inputs: this is the array that
    training never builds.

    Args:
      tokens_BS: int32.
      positions_BS: int32, from 0 inside each sequence, so below S.
      segments_BS: int32; a token sees only its own segment.
    """
    chex.assert_equal_shape([tokens_BS, positions_BS, segments_BS])
    return logprob.head_logits(
        hidden(params, tokens_BS, positions_BS, segments_BS, config=config), head(params, config)
    )


def token_logp(
    params: Params,
    tokens_BS: jax.Array,
    positions_BS: jax.Array,
    segments_BS: jax.Array,
    candidates_BSA: jax.Array | None = None,
    lift: Lift | None = None,
    *,
    config: ModelConfig,
    temperature: float = 1.0,
    transform: logprob.Transform = logprob.unchanged,
) -> tuple[jax.Array, jax.Array]:
    """Log-probability of every token given those before it in its segment.

    Args:
      candidates_BSA: int32, what tokens[s] was restricted to when drawn (-1: not restricted).
      lift: what the sampler added to one candidate's logit, [] each.
      temperature, transform: what the sampler did to the logits.

    Returns:
      (logp_BS, entropy_BS), float32 nats; entry s is about tokens[s]. The first token of a segment is predicted from
      nothing sensible: its entry means nothing and callers give it weight 0.
    """
    logp_BS, entropy_BS, _ = scored(
        params,
        tokens_BS,
        positions_BS,
        segments_BS,
        candidates_BSA,
        lift,
        config=config,
        temperature=temperature,
        transform=transform,
    )
    return logp_BS, entropy_BS


def scored(
    params: Params,
    tokens_BS: jax.Array,
    positions_BS: jax.Array,
    segments_BS: jax.Array,
    candidates_BSA: jax.Array | None = None,
    lift: Lift | None = None,
    *,
    config: ModelConfig,
    temperature: float = 1.0,
    transform: logprob.Transform = logprob.unchanged,
) -> tuple[jax.Array, jax.Array, Metrics]:
    """`token_logp`, and what the pass says about the policy itself: `moe.load_metrics`, {} without experts. Tokens of
    segment SEGMENT_NONE do not count there."""
    chex.assert_equal_shape([tokens_BS, positions_BS, segments_BS])
    B, S = tokens_BS.shape
    h_BSD, loads = _forward(params, tokens_BS, positions_BS, segments_BS, config)
    # Entry s is predicted by the hidden state at s-1; the wrapped entry 0 means nothing, as the docstring says.
    h_ND = jnp.roll(h_BSD, 1, axis=1).reshape(B * S, -1)
    few_NA = None if candidates_BSA is None else candidates_BSA.reshape(B * S, -1)
    logp_N, entropy_N = logprob.token_logp(
        h_ND,
        head(params, config),
        tokens_BS.reshape(-1),
        few_NA,
        chunk=config.logp_chunk,
        temperature=temperature,
        transform=transform,
        lift=lift,
    )
    return logp_N.reshape(B, S), entropy_N.reshape(B, S), moe.load_metrics(loads)


def expected_candidate(
    params: Params,
    tokens_BS: jax.Array,
    positions_BS: jax.Array,
    segments_BS: jax.Array,
    candidates_BSA: jax.Array,
    lift: Lift | None = None,
    *,
    config: ModelConfig,
    temperature: float = 1.0,
) -> jax.Array:
    """Expected index among the candidates for each token, given what stands before it: float32 [B S], see
    `logprob.expected_candidate`. No lift belongs to what it is asked about."""
    del lift
    B, S = tokens_BS.shape
    h_BSD = jnp.roll(hidden(params, tokens_BS, positions_BS, segments_BS, config=config), 1, axis=1)
    few_NA = candidates_BSA.reshape(B * S, -1)
    value_N = logprob.expected_candidate(h_BSD.reshape(B * S, -1), head(params, config), few_NA, temperature)
    return value_N.reshape(B, S)


def unstack(params: Params, config: ModelConfig) -> Params:
    """Parameters with `layers` as a tuple, one entry a layer, as decoding wants them: sliced, merged with their
    adapters and gathered along their width once, before the loop. Slices are copies anyway: merging costs no memory."""
    params, layers = joined(params), []
    for r, run in enumerate(config.layer_runs):
        stack = params["layers"][str(r)]
        layers += [merged(jax.tree.map(lambda x, y=y: x[y], stack)) for y in range(run.count)]
    return gathered({**params, "layers": tuple(layers)})


def _blocks(config: ModelConfig) -> list[Any]:
    """The layers in order. Any, because Linen types what a method returns as a union with its variables."""
    return [Block(config, run.sparse, run.window) for run in config.layer_runs for _ in range(run.count)]


def _angles(config: ModelConfig, positions_BS: jax.Array, limit: int) -> list[tuple[jax.Array, jax.Array] | None]:
    """The rotary embedding's angles for each layer; None for one without."""
    angles = rotation(positions_BS, limit, config)
    return [None if y in config.no_rope_layers else angles for y in range(config.num_hidden_layers)]


def _final_norm(params, x, config) -> Any:
    norm = RMSNorm(config.rms_norm_eps, config.dtype, config.param_dtype)
    return norm.apply({"params": params["norm"]}, x)


def read_prompts(
    params: Params, cache: Cache, tokens_XNL: jax.Array, held_XN: jax.Array, at_XNS: jax.Array, *, config: ModelConfig
) -> Cache:
    """Read prompts, each once for its whole group, and hold their keys and values, in S copies.

    Args:
      params: from `unstack`.
      tokens_XNL: int32, left-padded.
      held_XN: int32, 0..L tokens.
      at_XNS: int32, which of the prompts in the cache each becomes; out of range: none.
    """
    chex.assert_rank([tokens_XNL, held_XN, at_XNS], [3, 2, 3])
    X, N, L = tokens_XNL.shape
    offset_BL = jnp.arange(L)[None] - (L - held_XN.reshape(-1))[:, None]
    positions_BL, segments_BL = jnp.maximum(offset_BL, 0), (offset_BL >= 0).astype(jnp.int32)
    x_BLD = shard(params["embed_tokens"].astype(config.dtype)[tokens_XNL.reshape(X * N, L)], "batch", None, None)
    layers, angles = [], _angles(config, positions_BL, L)
    each = zip(_blocks(config), params["layers"], angles, cache, strict=True)
    for y, (block, p, angle, layer) in enumerate(each):
        q, k, v = block.apply({"params": p}, x_BLD, angle, method=Block.qkv)
        layers.append(hold(layer, k.reshape(X, N, *k.shape[1:]), v.reshape(X, N, *v.shape[1:]), at_XNS))
        if y == len(cache) - 1:  # nothing is predicted from a prompt here, so its last layer ends with keys and values
            break
        attended = attention.causal(
            q, k, v, segments_BL, window=block.window, implementation=config.attention_implementation
        )
        with whole_width():
            x_BLD, _ = block.apply({"params": p}, x_BLD, attended, method=Block.finish)
    return tuple(layers)


def decode(
    params: Params, cache: Cache, tokens_XBW: jax.Array, places: Places, *, config: ModelConfig
) -> tuple[jax.Array, Cache]:
    """Feed each slot its next W tokens and read what follows each of them.

    Args:
      params: from `unstack`.
      tokens_XBW: int32, at own places `places.start` .. start + W - 1; what a slot has no page for is not kept.
      places: who reads what; own place 0 of a slot follows on the last held token of its prompt.

    Returns:
      (hidden_XBWD, cache).
    """
    X, B, W = tokens_XBW.shape
    L, Z, G = cache[0].prompt_v.shape[3], page_size(cache), places.reader.shape[2]
    held_XB = jax.vmap(lambda held, seat: held.at[seat // G].get(mode="fill", fill_value=0))(places.held, places.seat)
    positions_XBW = (held_XB + places.start)[..., None] + jnp.arange(W)[None, None]
    limit = L + places.table.shape[2] * Z + W
    angles = _angles(config, jnp.minimum(positions_XBW, limit - 1).reshape(X * B, W), limit)
    x_NWD = shard(params["embed_tokens"].astype(config.dtype)[tokens_XBW.reshape(X * B, W)], "batch", None, None)
    at = written(places, W, Z)
    layers = []
    for block, p, angle, layer in zip(_blocks(config), params["layers"], angles, cache, strict=True):
        q, k, v = (x.reshape(X, B, *x.shape[1:]) for x in block.apply({"params": p}, x_NWD, angle, method=Block.qkv))
        layer = write(layer, k, v, at)
        layers.append(layer)
        attended = attention_paged.attend(
            q, layer.prompt_k, layer.prompt_v, layer.k, layer.v, places, window=block.window
        )
        with whole_width():
            x_NWD, _ = block.apply({"params": p}, x_NWD, attended.reshape(X * B, *q.shape[2:]), method=Block.finish)
    return _final_norm(params, x_NWD, config).reshape(X, B, W, -1), tuple(layers)


def logp_fn(config: ModelConfig, temperature: float = 1.0, transform: logprob.Transform = logprob.unchanged):
    """The function that the update is handed: (params, tokens, positions, segments, candidates, lift) -> (logp,
    entropy, metrics)."""
    return functools.partial(scored, config=config, temperature=temperature, transform=transform)
