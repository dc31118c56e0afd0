"""How readily a new chunk is begun: one number that is added to its logit, solved so that chunks have a wanted length.

What a released model thinks of `</seg>` at the end of a sentence is a matter of its tags, not of the text: under
Qwen2.5-Coder-0.5B a new chunk had a chance below 0.001 there, and every chain was one chunk. At which places it would
rather split is worth having. So all their odds are raised alike, until the expected number of chunks is right.

The number is solved on a few texts: their places are read by teacher forcing, with splits drawn at the odds found so
far, since a text that was split once is split more readily again. It is a part of the distribution sampled from.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.agents.constraints import Split, split_tokens
from jaxreason.config import Config
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.parallel.rules import everywhere, place, whole_batch
from jaxreason.policy import api
from jaxreason.types import Params

TEXTS = 16
"""Texts that are read; of more, so many evenly."""
AT_A_TIME = 4
"""Texts of a forward pass."""
PASSES = 3
"""Times the odds are read and the number is solved."""
MOST_PLACES = 0.8
"""Share of a text's places that are split at most on average: certainty would leave nothing to choose."""
FURTHEST = 60.0
"""Bound of the number, over the temperature."""
MIDDLE = 3
"""The score that stands behind chunks, where one does."""
WIDTH = 128
"""Rows are padded to a multiple of this, so that few programs are compiled."""


def solve(
    params: Params,
    prompts: Sequence[Sequence[int]],
    y_rows: Sequence[Sequence[int]],
    places: Sequence[np.ndarray],
    config: Config,
    tokenizer: Tokenizer,
    *,
    scored: bool = False,
) -> float:
    """What to add to the logit of a new chunk, so that chunks have agents.chunk_length tokens on average.

    A text of t tokens with p places is to fall into min(t / chunk_length, 1 + MOST_PLACES p) chunks.

    Args:
      params: the helpers'.
      prompts: what the segmenter is asked about each y; an empty one is not read.
      places: bool for each token of y, see `boundaries.places`.
      config: of `Config.for_helpers`.
      scored: whether a score stands behind every chunk.

    Returns: The number, the same on every host; 0 where no text has a place.
    """
    able = [n for n, (asked, place_T) in enumerate(zip(prompts, places, strict=True)) if len(asked) and place_T.any()]
    if not able:
        return 0.0
    chosen = [able[i] for i in np.unique(np.linspace(0, len(able) - 1, TEXTS).round().astype(int))]
    at = [np.flatnonzero(places[n]) for n in chosen]
    wanted = [
        min(len(y_rows[n]) / config.agents.chunk_length, 1 + MOST_PLACES * len(some))
        for n, some in zip(chosen, at, strict=True)
    ]
    total = max(sum(wanted) - len(wanted), 1e-3)  # new chunks beside the first ones
    uniform = [np.random.default_rng(n).random(len(some)) for n, some in zip(chosen, at, strict=True)]
    drawn = [u < total / sum(map(len, at)) for u in uniform]
    found = 0.0
    for _ in range(PASSES):
        texts = [
            (
                prompts[n],
                split_tokens(
                    y_rows[n], some.tolist(), new.tolist(), tokenizer, [MIDDLE] * (sum(new) + 1) if scored else ()
                ),
            )
            for n, some, new in zip(chosen, at, drawn, strict=True)
        ]
        odds = _odds(params, texts, config, tokenizer.pad_id)
        found = solve_odds(np.concatenate(odds), total)
        drawn = [u < _chance(o + found) for u, o in zip(uniform, odds, strict=True)]
    return found * config.sampling.temperature


def solve_odds(odds_N: np.ndarray, total: float) -> float:
    """The number to add to log-odds so that their chances sum to `total`, by bisection; within FURTHEST of 0.

    >>> round(solve_odds(np.array([-3.0, -3.0]), 1.0), 3)
    3.0
    """
    low, high = -FURTHEST, FURTHEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _chance(odds_N + middle).sum() < total else (low, middle)
    return (low + high) / 2


def _chance(odds_N: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * odds_N))


def _odds(
    params: Params, texts: Sequence[tuple[Sequence[int], Split]], config: Config, pad_id: int
) -> list[np.ndarray]:
    """Log-odds of a new chunk at the places of each text, a prompt and its answer, over the temperature; float64."""
    longest = max(len(asked) + len(split.tokens) for asked, split in texts)
    B, S = whole_batch(AT_A_TIME), -(-longest // WIDTH) * WIDTH
    found: list[np.ndarray] = []
    for start in range(0, len(texts), B):
        some = texts[start : start + B]
        tokens_BS = np.full((B, S), pad_id, np.int32)
        segments_BS, few_BSA = np.zeros((B, S), np.int32), np.full((B, S, 2), -1, np.int32)
        for b, (asked, split) in enumerate(some):
            row = [*asked, *split.tokens]
            tokens_BS[b, : len(row)] = row
            segments_BS[b, : len(row)] = 1
            few_BSA[b, len(asked) + split.decided] = split.between
        arrays = place((tokens_BS, segments_BS, few_BSA), "batch")
        chance_BS = np.asarray(_chances(params, *arrays, config=config.model, temperature=config.sampling.temperature))
        for chance_S, (asked, split) in zip(chance_BS, some, strict=False):
            chance = np.clip(chance_S[len(asked) + split.decided].astype(np.float64), 1e-30, 1 - 1e-7)
            found.append(np.log(chance) - np.log1p(-chance))
    return found


@functools.partial(jax.jit, static_argnames=("config", "temperature"))
def _chances(params, tokens_BS, segments_BS, few_BSA, *, config, temperature) -> jax.Array:
    """Chance of the second of two candidates at each token, on every host."""
    positions_BS = jnp.broadcast_to(jnp.arange(tokens_BS.shape[1]), tokens_BS.shape)
    chance_BS = api.expected_candidate(
        params, tokens_BS, positions_BS, segments_BS, few_BSA, config=config, temperature=temperature
    )
    return everywhere(chance_BS)
