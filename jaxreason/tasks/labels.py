"""What a task's labels say about completions. Diagnostics only: nothing here enters a reward."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer, text_of
from jaxreason.tasks.base import Labelled, Piece, Task
from jaxreason.types import Chunks, Scores

Sums = dict[str, tuple[float, float]]
"""Name -> (sum, count)."""

MALFORMED = "malformed"
"""The kind of what fits nothing; neither needed nor needless."""


class Labels(NamedTuple):
    """One completion in a task's own eyes."""

    pieces: list[Piece]
    kinds: list[str]  # of the piece that each token begins in


def labels_of(task: Task, problem: Problem, ids: Sequence[int], tokenizer: Tokenizer) -> Labels | None:
    """Label a completion; None where the task has no labels, or none for such a problem.

    Args:
      ids: without the end token.
    """
    pieces = task.label(problem, text_of(ids, tokenizer)) if isinstance(task, Labelled) else None
    if not pieces:  # none too where tokens have no text
        return None
    ends = np.cumsum([len(p.text.encode("utf-8", "surrogateescape")) for p in pieces])
    starts = np.cumsum([0, *(len(tokenizer.token_bytes(i)) for i in ids)])[:-1]
    at = np.minimum(np.searchsorted(ends, starts, side="right"), len(pieces) - 1)
    return Labels(pieces, [pieces[i].kind for i in at])


def needless_tokens(task: Task, labels: Labels | None) -> int:
    """Tokens of pieces that could be left out; 0 without labels."""
    if labels is None or not isinstance(task, Labelled):
        return 0
    return sum(task.importance.get(kind, 5) < 5 for kind in labels.kinds)


def line_metrics(task: Task, rows: Sequence[Labels | None]) -> Sums:
    """Shares of tokens that are needless or malformed, and the task's own counts; empty without labels."""
    found = [labels for labels in rows if labels is not None]
    if not found or not isinstance(task, Labelled):
        return {}
    total = sum(len(labels.kinds) for labels in found)
    sums: Sums = {
        "reason/needless_tokens": (sum(needless_tokens(task, labels) for labels in found), total),
        "reason/malformed_tokens": (sum(labels.kinds.count(MALFORMED) for labels in found), total),
    }
    for labels in found:
        for name, (value, count) in task.counts(labels.pieces).items():
            before = sums.get(name, (0, 0))
            sums[name] = (before[0] + value, before[1] + count)
    return sums


def score_metrics(task: Task, rows: Sequence[Labels | None], chunks: Chunks, scores: Scores) -> Sums:
    """Share of needless chunks that were scored 4 or 5 (inflation), and of needed ones scored 1 or 2; empty without
    labels.

    A chunk is what most of its tokens are; malformed chunks count as neither.
    """
    if not isinstance(task, Labelled) or not any(rows):
        return {}
    K = chunks.length.shape[2]
    chunk_id_NT = np.asarray(chunks.chunk_id).reshape(-1, chunks.chunk_id.shape[2])
    value_NK = np.asarray(scores.value).reshape(-1, K)
    high = needless = low = needed = 0
    for n, labels in enumerate(rows):
        if labels is None or not value_NK[n].any():
            continue
        found = np.array(labels.kinds)
        of_chunk = chunk_id_NT[n, : len(found)]
        for k in np.flatnonzero(value_NK[n]):
            names, counts = np.unique(found[of_chunk == k], return_counts=True)
            if not len(names) or (kind := names[counts.argmax()]) == MALFORMED:
                continue
            if task.importance.get(kind, 5) < 5:
                needless += 1
                high += value_NK[n, k] >= 4
            else:
                needed += 1
                low += value_NK[n, k] <= 2
    return {"score/needless_high": (float(high), float(needless)), "score/needed_low": (float(low), float(needed))}
