"""What the labels of the built-in task say about an episode. Diagnostics only: nothing here enters a reward."""

from collections.abc import Sequence

import numpy as np

from jaxreason.agents import alignment
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.tasks.calculator.demonstrations import NEEDLESS, label
from jaxreason.types import Chunks, Rollout, Scores

Sums = dict[str, tuple[float, float]]
"""Name -> (sum, count)."""


def kinds(problem: Problem, ids: Sequence[int], tokenizer: Tokenizer) -> list[str]:
    """The kind of line each token of a completion begins in."""
    pieces = label(problem.question, alignment.text_of(ids, tokenizer))
    ends = np.cumsum([len(p.text.encode("utf-8", "surrogateescape")) for p in pieces])
    starts = np.cumsum([0, *(len(tokenizer.token_bytes(i)) for i in ids)])[:-1]
    at = np.minimum(np.searchsorted(ends, starts, side="right"), len(pieces) - 1)
    return [pieces[i].kind for i in at]


def line_metrics(problems: Sequence[Problem], rollout: Rollout, tokenizer: Tokenizer) -> Sums:
    """Shares of tokens that are needless or malformed, and of guesses that were checked, over [P G] completions."""
    G = rollout.length.shape[1]
    needless = malformed = total = guesses = checks = 0
    for n, ids in enumerate(alignment.completion_ids(rollout)):
        question = problems[n // G].question
        for piece in label(question, alignment.text_of(ids, tokenizer)):
            guesses += piece.kind == "guess"
            checks += piece.kind == "check"
        found = kinds(problems[n // G], ids, tokenizer)
        needless += sum(kind in NEEDLESS for kind in found)
        malformed += sum(kind == "malformed" for kind in found)
        total += len(found)
    return {
        "reason/needless_tokens": (needless, total),
        "reason/malformed_tokens": (malformed, total),
        "reason/checked_guesses": (checks, guesses),
    }


def score_metrics(
    problems: Sequence[Problem],
    rollout: Rollout,
    chunks: Chunks,
    scores: Scores,
    tokenizer: Tokenizer,
) -> Sums:
    """Share of needless chunks that were scored 4 or 5 (inflation), and of needed ones scored 1 or 2.

    A chunk is what most of its tokens are; malformed chunks count as neither.
    """
    G, K = chunks.length.shape[1:]
    chunk_id_NT = np.asarray(chunks.chunk_id).reshape(-1, chunks.chunk_id.shape[2])
    value_NK = np.asarray(scores.value).reshape(-1, K)
    high = needless = low = needed = 0
    for n, ids in enumerate(alignment.completion_ids(rollout)):
        if not value_NK[n].any():
            continue
        found = np.array(kinds(problems[n // G], ids, tokenizer))
        of_chunk = chunk_id_NT[n, : len(ids)]
        for k in np.flatnonzero(value_NK[n]):
            names, counts = np.unique(found[of_chunk == k], return_counts=True)
            if not len(names) or (kind := names[counts.argmax()]) == "malformed":
                continue
            if kind in NEEDLESS:
                needless += 1
                high += value_NK[n, k] >= 4
            else:
                needed += 1
                low += value_NK[n, k] <= 2
    return {"score/needless_high": (float(high), float(needless)), "score/needed_low": (float(low), float(needed))}
