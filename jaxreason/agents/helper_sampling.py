"""Asking a helper: prompts of many lengths in batches of equal size, and what came back as text.

Knows neither what is asked nor how an answer is read.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxreason.config import AgentsConfig, Config
from jaxreason.data.tokenizer import Tokenizer, text_of
from jaxreason.parallel.rules import place, whole_batch
from jaxreason.sampling.engine import generate
from jaxreason.sampling.methods import Method
from jaxreason.types import Constraint, HostRollout, Params, PromptBatch, Rollout, on_host


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


def ask(
    params: Params,
    rows: Sequence[Sequence[int]],
    max_prompt: int,
    limits: np.ndarray,
    max_tokens: int,
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    constraint: Constraint | None,
    shape: tuple[int, int],
    wait: Callable[[Rollout], Rollout],
) -> tuple[PromptBatch, HostRollout]:
    """One completion a prompt from a helper; the rollout comes back as [P G ...]."""
    too_long = [len(row) > max_prompt for row in rows]
    if any(too_long):
        # A copy can tokenise into more tokens than its source. Such a row is not asked rather than cut.
        rows = [[] if cut else row for row, cut in zip(rows, too_long, strict=True)]
        limits = np.where(too_long, 0, limits)
    N, sampling = len(rows), config.sampling
    # A batch is decoded until its longest row ends, and reads a cache as wide as its longest prompt: sorted by length,
    # short rows do not wait for long ones.
    batches = np.array_split(np.argsort([len(row) for row in rows], kind="stable"), batch_count(N, config.agents))
    asked, rollouts = [], []
    for b, index in enumerate(batches):
        some = [rows[n] for n in index]
        asked.append(left_pad(some, bucket(max(map(len, some)), max_prompt), tokenizer.pad_id))
        rollout = generate(
            params,
            place(asked[-1], "batch"),
            place(limits[index].astype(np.int32)[:, None], "batch"),
            jax.random.fold_in(key, b),
            sampling.temperature,
            place(jax.tree.map(lambda x, index=index: x[index], constraint), "batch"),
            config=config.model,
            num_generations=1,
            max_completion_length=max_tokens,
            eos_ids=tokenizer.eos_ids,
            pad_id=tokenizer.pad_id,
            method=Method(top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p),
        )
        # Waited for here: two programs with collectives at a time can block each other on CPUs.
        rollouts.append(HostRollout.of(wait(rollout)))
    back = np.argsort(np.concatenate(batches))
    rollout = jax.tree.map(lambda *x: np.concatenate(x)[back].reshape(*shape, *x[0].shape[2:]), *rollouts)
    return _joined(asked, back, tokenizer.pad_id), rollout


def batch_count(rows: int, config: AgentsConfig) -> int:
    """How many batches of equal size, each split evenly over the mesh, the helpers' rows are decoded in:
    agents.helper_batches, or the next fewer."""
    fits = [n for n in range(1, config.helper_batches + 1) if rows % n == 0 and whole_batch(rows // n) == rows // n]
    return max(fits, default=1)


def _joined(asked: Sequence[PromptBatch], order: np.ndarray, pad_id: int) -> PromptBatch:
    """Several prompt batches as one, its rows in the given order."""
    width = max(batch.tokens.shape[1] for batch in asked)
    wide = [np.pad(b.tokens, ((0, 0), (width - b.tokens.shape[1], 0)), constant_values=pad_id) for b in asked]
    lengths = np.concatenate([np.asarray(b.length) for b in asked])
    return on_host(PromptBatch, tokens=np.concatenate(wide)[order], length=lengths[order])


def texts_of(
    rollout: HostRollout, asked: Sequence[int], tokenizer: Tokenizer, part: slice
) -> tuple[list[str | None], list[bool]]:
    """What was written in some of the rows, None where nothing was asked, and whether it ended by itself.

    A row that was asked wrote at least one token; one that wrote none had a prompt too long to be asked.
    """
    written_N = rollout.length.reshape(-1)[part]
    texts = [
        text_of(row, tokenizer) if n and written else None
        for row, n, written in zip(rollout.completion_ids[part], asked[part], written_N, strict=True)
    ]
    return texts, rollout.finished.reshape(-1)[part].tolist()
