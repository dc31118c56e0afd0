"""What sampling has to do, given how long completions are: passes over the weights, tokens, keys and values read."""

import heapq
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxreason.config import Config, ModelConfig
from jaxreason.plan.work import Work
from jaxreason.policy.footprint import token_bytes
from jaxreason.sampling.engine import READ_TOKENS, copies_held
from jaxreason.sampling.room import BLOCK, PAGE, Room, room_for

POINTS = 1000
"""Completions that stand for a distribution."""


def read_lengths(given: str) -> tuple[int, ...]:
    """What `--lengths` names: a file with a number of tokens a line, or with the answers of an evaluation, or
    `mean,limit`: geometric lengths cut at a limit.

    >>> mean = np.mean(read_lengths("4096,16384"))
    >>> bool(4090 < mean < 4100)
    True

    Raises:
      ValueError: neither.
    """
    if Path(given).is_file():
        try:
            lines = [json.loads(line) for line in Path(given).read_text().split("\n") if line.strip()]
            found = [line["n_tokens"] if isinstance(line, dict) else line for line in lines]
        except (ValueError, KeyError):
            found = []
        if found and all(type(length) is int and length > 0 for length in found):
            return tuple(sorted(found))
        raise ValueError(
            f"--lengths: expected a file with a number of tokens above 0 a line, or the answers of an evaluation "
            f"(n_tokens), got {given}"
        )
    mean, comma, limit = given.partition(",")
    if not (comma and mean.isdigit() and limit.isdigit() and 1 <= int(mean) <= int(limit)):
        raise ValueError(f"--lengths: expected MEAN,LIMIT in tokens, MEAN at most LIMIT, or a file, got {given}")
    share_K = (np.arange(POINTS) + 0.5) / POINTS

    def cut(rate: float) -> np.ndarray:
        return np.minimum(np.ceil(-np.log1p(-share_K) * rate), int(limit))

    # The cut takes from the mean what the rate must give back.
    low, high = 0.01, 1e3 * int(limit)
    for _ in range(100):
        rate = (low * high) ** 0.5
        low, high = (rate, high) if cut(rate).mean() < int(mean) else (low, rate)
    return tuple(cut(high).astype(int).tolist())


def spread(lengths: Sequence[int], count: int, limit: int) -> np.ndarray:
    """So many completions with these lengths, in an order without a trend: int [count], at most `limit`."""
    points = np.sort(np.asarray(lengths))[((np.arange(count) + 0.5) / count * len(lengths)).astype(int)]
    return np.minimum(np.random.default_rng(0).permutation(points), limit)


def rounds(passes_N: np.ndarray, slots: int) -> int:
    """Passes until all rows are done, where the first free slot takes the next row.

    >>> rounds(np.array([5, 1, 1, 1]), 2), rounds(np.array([1, 1, 1, 5]), 2)
    (5, 6)
    """
    ends = [0] * min(slots, len(passes_N))
    for passes in passes_N.tolist():
        heapq.heapreplace(ends, ends[0] + passes)
    return max(ends)


def sampler_work(
    model: ModelConfig, room: Room, length_PG: np.ndarray, prompt: int, *, block: int = 1, drawn: int = 0
) -> Work:
    """Of completions of these lengths of prompts of so many tokens.

    Args:
      block: tokens of a row that a pass feeds; 1: all are drawn freely, and need the whole head.
      drawn: with a block, places of a completion where something else than foreseen may be drawn, which ends a block.
    """
    (P, G), length_N = length_PG.shape, length_PG.reshape(-1).astype(float)
    passes_N = length_N if block == 1 else np.minimum(length_N, np.ceil(length_N / block) + drawn)
    fed, trips = block * passes_N.sum(), rounds(passes_N.astype(int), room.slots)
    pairs = P * prompt * (prompt + 1) / 2 + (fed / length_N.sum()) * (length_N * (prompt + (length_N + 1) / 2)).sum()
    held = copies_held(room.slots, P, G, room.shares)
    # Keys and values: of its own a row reads the pages that it has filled, of prompts every pass all that are held.
    places = (passes_N * (length_N + PAGE) / 2).sum() + trips * held * prompt
    return Work(
        trips=trips,
        tokens=int(P * prompt + fed),
        predicted=int(length_N.sum()) if block == 1 else 0,
        pairs=pairs,
        passes=1,
        cache_bytes=float(token_bytes(model) * places),
        inner=P / max(1, READ_TOKENS // prompt) / trips,
    )


def reasoner_work(config: Config, lengths: Sequence[int] = ()) -> Work:
    """Of a step's rollouts, all at the limit where no lengths are given."""
    P, G = config.data.prompts_per_step, config.sampling.num_generations
    T = config.sampling.max_completion_length
    length_PG = spread(lengths or (T,), P * G, T).reshape(P, G)
    return sampler_work(config.model, room_for(config.sampling, P * G, T), length_PG, config.data.max_prompt_length)


def helper_work(config: Config, role: str, shape: tuple[int, int, int, int], lengths: Sequence[int] = ()) -> Work:
    """Of a helper's answers.

    Args:
      shape: P rows, G = 1, tokens of a prompt and of an answer at most.
      lengths: of the reasoner's completions; none: every answer reaches its limit.
    """
    N, _, prompt, most = shape
    T, K = config.sampling.max_completion_length, config.agents.max_chunks
    length_N = np.full(N, most)
    if lengths and role != "score":  # it writes y again
        short_N = T - spread(lengths, N, T)
        length_N = np.maximum(length_N - short_N, 1)
        prompt -= int(short_N.mean())
    elif lengths:
        prompt -= T - int(spread(lengths, N, T).mean())
    free = config.agents.decoding == "free"
    # A new chunk and a score are what a block ends at.
    drawn = K * (2 if role == "annotate" else 1)
    room = room_for(config.sampling, N, most)
    return sampler_work(
        config.model, room, length_N[:, None], prompt, block=1 if free else BLOCK, drawn=0 if free else drawn
    )
