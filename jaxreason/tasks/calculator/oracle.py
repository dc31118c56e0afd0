"""The control that knows: importance from the labels of the built-in task, in place of both helpers.

It is the ceiling of importance weighting: a method whose helpers learn to see what is needed can come to this, and
what it does not reach is no fault of theirs. Beside the figures it is for nothing: no other task has labels.
"""

from collections.abc import Sequence

import numpy as np

from jaxreason.agents import alignment
from jaxreason.agents.alignment import Reasoning
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.tasks.calculator import labels
from jaxreason.tasks.calculator.demonstrations import NEEDED
from jaxreason.types import Chunks, Rollout, Scores

ESSENTIAL, SPARE = 0, 1
VALUES = np.array([5, 1], np.int32)
"""Scores of the two chunks."""


def true_chunks(
    problems: Sequence[Problem], rollout: Rollout, reasonings: Sequence[Reasoning], tokenizer: Tokenizer
) -> tuple[Chunks, Scores]:
    """Two chunks a completion, K = 2: the tokens of y in needed lines, scored 5, and those in other lines, scored 1.

    A chunk need not hang together. A malformed line is not needed. A y without tokens has no chunk and is not valid.
    """
    P, G, T = np.asarray(rollout.tokens).shape
    chunk_id_NT = np.full((P * G, T), len(VALUES), np.int32)
    length_NK, characters_NK = (np.zeros((P * G, len(VALUES)), np.int32) for _ in range(2))
    for n, (ids, y) in enumerate(zip(alignment.completion_ids(rollout), reasonings, strict=True)):
        if not y.ids:
            continue
        kinds = labels.kinds(problems[n // G], ids, tokenizer)
        chunk_T = np.array([ESSENTIAL if kinds[place] in NEEDED else SPARE for place in y.places])
        size_T = np.array([len(tokenizer.token_bytes(i)) for i in y.ids])
        chunk_id_NT[n, y.places] = chunk_T
        length_NK[n] = np.bincount(chunk_T, minlength=len(VALUES))
        characters_NK[n] = np.bincount(chunk_T, weights=size_T, minlength=len(VALUES))
    there_NK, valid_N = length_NK > 0, length_NK.sum(1) > 0
    chunks = Chunks(
        chunk_id=chunk_id_NT.reshape(P, G, T),  # pyright: ignore[reportArgumentType]
        length=length_NK.reshape(P, G, -1),  # pyright: ignore[reportArgumentType]
        characters=characters_NK.reshape(P, G, -1),  # pyright: ignore[reportArgumentType]
        mask=there_NK.reshape(P, G, -1),  # pyright: ignore[reportArgumentType]
        valid=valid_N.reshape(P, G),  # pyright: ignore[reportArgumentType]
    )
    value_NK = np.where(there_NK, VALUES, 0)
    return chunks, Scores(value=value_NK.reshape(P, G, -1), valid=valid_N.reshape(P, G))  # pyright: ignore[reportArgumentType]
