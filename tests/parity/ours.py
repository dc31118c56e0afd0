"""The same of the policy, from the same checkpoint folder."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.config import ModelConfig
from jaxreason.policy import api, hf_config, hf_load
from jaxreason.sampling import engine
from jaxreason.sampling.query import Decoding, Query
from jaxreason.types import Params, PromptBatch
from tests.parity import cases


def load(folder: Path) -> tuple[Params, ModelConfig]:
    """Parameters and config as the loader reads them."""
    config = hf_config.model_config(folder)
    return hf_load.load(folder, config), config


def _rows(rows: list[np.ndarray]):
    tokens, mask = cases.padded(rows, left=False)
    return tokens, np.where(mask, np.cumsum(mask, -1) - 1, 0).astype(np.int32), mask


def scored(params: Params, config: ModelConfig, rows: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Logits [tokens V] and log-probabilities [tokens - 1] of each prompt, the tail of its row left out."""

    @jax.jit
    def both(params, tokens, positions, segments):
        where = {"config": config}
        logp, _ = api.token_logp(params, tokens, positions, segments, **where)
        return api.logits(params, tokens, positions, segments, **where), logp

    scores, logp = (np.asarray(x) for x in both(params, *_rows(rows)))
    lengths = [len(row) for row in rows]
    return [x[:n] for x, n in zip(scores, lengths, strict=True)], [x[1:n] for x, n in zip(logp, lengths, strict=True)]


def greedy(params: Params, config: ModelConfig, rows: list[np.ndarray]) -> np.ndarray:
    """NEW tokens after each prompt of one left-padded batch; two rollouts a prompt, which must agree."""
    tokens, mask = cases.padded(rows, left=True)
    batch = PromptBatch(tokens=jnp.asarray(tokens), length=jnp.asarray(mask.sum(-1), jnp.int32))
    query = Query(prompts=batch, limit=jnp.full((len(rows), 2), cases.NEW, jnp.int32))
    how = Decoding(config, cases.NEW, (-1,), 0)  # no token ends it
    rollout = engine.generate(params, query, jax.random.key(0), jnp.float32(0.0), how)
    tokens_PGT = np.asarray(rollout.tokens)
    np.testing.assert_array_equal(tokens_PGT[:, 0], tokens_PGT[:, 1])
    return tokens_PGT[:, 0]


def bfloat16_error(params: Params, config: ModelConfig, name: str) -> tuple[float, float]:
    """(median, mean) of |logits in bfloat16 - logits in float32| over the case's many prompts."""
    types = ("bfloat16", "float32")
    many = cases.many(name)
    rounded, plain = (np.array(scored(params, dataclasses.replace(config, dtype=t), many)[0]) for t in types)
    error = np.abs(rounded - plain)
    return float(np.median(error)), float(error.mean())
