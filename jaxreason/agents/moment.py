"""What a step is beside its completions, as arrays: for length methods that depend on the prompt, the text or the run.

Nothing that costs time is found out for a method that does not read it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreason.agents.episode import Episode
from jaxreason.agents.roles import REASON
from jaxreason.data.problems import TARGET_TOKENS
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.parallel.rules import place
from jaxreason.rewards.length import Moment
from jaxreason.rewards.methods import Method
from jaxreason.tasks.prefix import answer_end, chunk_end
from jaxreason.tasks.reading import Reasoning
from jaxreason.types import on_host

RUN, TIMES = 16, 3
"""A completion goes round in circles where the same so many tokens stand in it so many times."""
_FACTORS = np.random.default_rng(0).integers(1 << 62, size=RUN, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def moment(
    episode: Episode,
    method: Method,
    memory: dict[str, Any],
    progress: float,
    tokenizer: Tokenizer,
    target: int | None = None,
) -> Moment:
    """The moment of a step, placed like its outcome.

    Args:
      memory: what the method remembers of earlier steps; read where it has a `Memory`.
      progress: share of the run's steps done before this one.
      target: L_T in tokens, where it follows the policy.
    """
    found: dict[str, Any] = {"progress": np.float32(progress)}
    if "asked" in method.reads:
        found["asked"] = np.array([problem.meta.get(TARGET_TOKENS, 0) for problem in episode.problems], np.int32)
    if "answer_at" in method.reads:
        length = episode.rollouts[REASON.name].length.reshape(-1)
        rows = [
            (answer_at(y, tokenizer), closes_at(y, int(tokens)))
            for y, tokens in zip(episode.reasonings, length, strict=True)
        ]
        at, closes = np.array(rows, np.int32).T
        found |= {"answer_at": at.reshape(episode.shape), "closes_at": closes.reshape(episode.shape)}
    if "prefix_end" in method.reads:
        length = episode.rollouts[REASON.name].length.reshape(-1)
        rows = [
            (prefix_end(y, tokenizer), closes_at(y, int(tokens)))
            for y, tokens in zip(episode.reasonings, length, strict=True)
        ]
        ends, closes = np.array(rows, np.int32).T
        found |= {"prefix_end": ends.reshape(episode.shape), "closes_at": closes.reshape(episode.shape)}
    if "repeats" in method.reads:
        ids = episode.rollouts[REASON.name].completion_ids
        found["repeats"] = np.array([goes_round(row) for row in ids]).reshape(episode.shape)
    if target is not None:
        found["target"] = np.int32(target)
    if method.memory is not None:
        found["memory"] = method.memory.recall(memory, [problem.id for problem in episode.problems])
    return place(on_host(Moment, **found), "batch")


def answer_at(y: Reasoning, tokenizer: Tokenizer) -> int:
    """Tokens of y up to the end of the first place where the completion's own answer stands by itself; 0: nowhere."""
    return _tokens_up_to(answer_end(y.text, y.answer), y, tokenizer)


def prefix_end(y: Reasoning, tokenizer: Tokenizer) -> int:
    """The place in the completion of y's first token behind the first chunk that holds the completion's own answer; -1
    where no chunk does, or none is behind it."""
    tokens = _tokens_up_to(chunk_end(y.text, y.answer), y, tokenizer)
    return y.places[tokens] if 0 < tokens < len(y.places) else -1


def _tokens_up_to(end: int, y: Reasoning, tokenizer: Tokenizer) -> int:
    """Tokens of y that its first `end` characters reach into; 0 for none."""
    if not end:
        return 0
    borders = np.cumsum([len(tokenizer.token_bytes(i)) for i in y.ids])
    return int(np.searchsorted(borders, len(y.text[:end].encode("utf-8", "surrogateescape"))) + 1)


def closes_at(y: Reasoning, length: int) -> int:
    """The place of the token that closes the thought in y, or else of the one behind y; -1 where there is none."""
    if not y.places:
        return -1
    places = np.array(y.places)
    gaps = np.flatnonzero(np.diff(places) > 1)
    behind = int(places[gaps[0] if len(gaps) else -1]) + 1
    return behind if behind < length else -1


def goes_round(ids: Sequence[int]) -> bool:
    """Whether some RUN tokens in a row stand TIMES times in a completion.

    >>> goes_round([1, 2, 3] * 20), goes_round(range(60))
    (True, False)
    """
    if len(ids) < RUN + TIMES - 1:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(ids, np.uint64), RUN)
    with np.errstate(over="ignore"):  # a hash: it wraps
        hashed = (windows * _FACTORS).sum(1, dtype=np.uint64)
    return bool(np.unique(hashed, return_counts=True)[1].max() >= TIMES)
