"""Asking a helper: prompts of many lengths through the slots, and what came back as text.

Knows neither what is asked nor how an answer is read.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxreason.agents.roles import Role
from jaxreason.config import Config
from jaxreason.data.tokenizer import Tokenizer, text_of
from jaxreason.parallel.rules import place
from jaxreason.sampling.engine import generate
from jaxreason.sampling.methods import Method
from jaxreason.sampling.query import Decoding, Query
from jaxreason.sampling.room import holds, room_for
from jaxreason.types import Constraint, HostRollout, Params, PromptBatch, Rollout, on_host


@dataclasses.dataclass(frozen=True)
class Asking:
    """Who is asked, and how: what is the same for every role."""

    params: Params
    key: jax.Array
    config: Config  # of `Config.for_helpers`
    tokenizer: Tokenizer
    wait: Callable[[Rollout], Rollout] = jax.block_until_ready  # as in `episode.run`
    first: int = 0  # the number that the first row draws under
    lift: float | None = None  # of a new chunk, see `episode.Known`

    def of(self, role: Role) -> "Asking":
        """With the key of a role."""
        return dataclasses.replace(self, key=jax.random.fold_in(self.key, role.id))


class Question(NamedTuple):
    """What N rows ask, all of one role. A row without a prompt is not asked."""

    rows: Sequence[Sequence[int]]  # N prompts
    longest: int  # tokens that a prompt can have
    limits: np.ndarray  # int [N], tokens of each answer at most
    most: int  # tokens of the longest answer there can be, a static size
    expected: np.ndarray  # [N], tokens that each answer will have, up to a factor: the longest begin first
    constraint: Constraint | None


def left_pad(rows: Sequence[Sequence[int]], width: int, pad_id: int) -> PromptBatch:
    """Rows of token ids as one batch, NumPy; an empty row becomes a single pad token (its completion has limit 0)."""
    tokens_PL = np.full((len(rows), width), pad_id, np.int32)
    for p, row in enumerate(rows):
        if len(row):
            tokens_PL[p, width - len(row) :] = row
    return on_host(PromptBatch, tokens=tokens_PL, length=np.array([max(1, len(row)) for row in rows], np.int32))


def bucket(longest: int, maximum: int) -> int:
    """The width a batch of prompts is padded to: a quarter, half or all of the maximum, so few programs are compiled.

    >>> bucket(70, 240), bucket(30, 240), bucket(121, 240)
    (120, 60, 240)
    """
    for parts in (4, 2):
        if longest <= -(-maximum // parts):
            return -(-maximum // parts)
    return max(longest, maximum)


def frame(texts: Sequence[str], tokenizer: Tokenizer) -> int:
    """Tokens of a prompt around what is put into it."""
    return max(map(len, tokenizer.encode_batch(texts)))


def ask(asking: Asking, question: Question, shape: tuple[int, int]) -> tuple[PromptBatch, HostRollout]:
    """One completion a prompt from a helper; the rollout comes back as [P G ...].

    A prompt that is longer than it can be (a copy can tokenise into more tokens than its source), and an answer that
    the pages of `sampling.pages` could not hold, is not asked rather than cut.
    """
    config, tokenizer, N = asking.config, asking.tokenizer, len(question.rows)
    room = room_for(config.sampling, N, question.most)
    asked = [
        row if len(row) <= question.longest and holds(room, limit, N) else []
        for row, limit in zip(question.rows, question.limits, strict=True)
    ]
    limits = np.where([bool(row) for row in asked], question.limits, 0).astype(np.int32)
    batch = left_pad(asked, bucket(max(map(len, asked)), question.longest), tokenizer.pad_id)
    sampling = config.sampling
    query = on_host(
        Query,
        prompts=batch,
        limit=limits[:, None],
        constraint=question.constraint,
        number=asking.first + np.arange(N, dtype=np.int32),
        expected=question.expected.astype(np.float32),
    )
    method = Method(top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p)
    how = Decoding(config.model, question.most, tokenizer.eos_ids, tokenizer.pad_id, method, room)
    rollout = generate(asking.params, place(query, "batch"), asking.key, sampling.temperature, how)
    found = HostRollout.of(asking.wait(rollout))
    return batch, jax.tree.map(lambda x: x.reshape(*shape, *x.shape[2:]), found)


def texts_of(
    rollout: HostRollout, asked: Sequence[int], tokenizer: Tokenizer, part: slice
) -> tuple[list[str | None], list[bool]]:
    """What was written in some of the rows, None where nothing was asked, and whether it ended by itself.

    A row that was asked wrote at least one token; one that wrote none was too long to be asked.
    """
    written_N = rollout.length.reshape(-1)[part]
    texts = [
        text_of(row, tokenizer) if n and written else None
        for row, n, written in zip(rollout.completion_ids[part], asked[part], written_N, strict=True)
    ]
    return texts, rollout.finished.reshape(-1)[part].tolist()
