"""The control that knows: importance from a task's own labels, in place of both helpers.

It is the ceiling of importance weighting: a method whose helpers learn to see what is needed can come to this, and
what it does not reach is no fault of theirs. Beside the figures it is for nothing: real tasks have no labels.
"""

from collections.abc import Sequence

import numpy as np

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.tasks.base import Labelled, Task
from jaxreason.tasks.labels import Labels
from jaxreason.tasks.reading import Reasoning
from jaxreason.types import Chunks, Scores, on_host

ESSENTIAL, SPARE = 0, 1
VALUES = np.array([5, 1], np.int32)
"""Scores of the two chunks."""


def true_chunks(
    task: Task,
    labels: Sequence[Labels | None],
    reasonings: Sequence[Reasoning],
    tokenizer: Tokenizer,
    shape: tuple[int, int, int],
) -> tuple[Chunks, Scores]:
    """Two chunks a completion, K = 2: the tokens of y in needed lines, scored 5, and those in other lines, scored 1.

    A chunk need not hang together. A line of no known kind is not needed. A y without tokens, or without labels, has no
    chunk and is not valid.

    Args:
      labels, reasonings: of rows in the order P, G.
      shape: P, G and T of the reasoner's rollout.
    """
    P, G, T = shape
    importance = task.importance if isinstance(task, Labelled) else {}
    chunk_id_NT = np.full((P * G, T), len(VALUES), np.int32)
    length_NK, characters_NK = (np.zeros((P * G, len(VALUES)), np.int32) for _ in range(2))
    for n, (row, y) in enumerate(zip(labels, reasonings, strict=True)):
        if row is None or not y.ids:
            continue
        chunk_T = np.array([ESSENTIAL if importance.get(row.kinds[place], 1) == 5 else SPARE for place in y.places])
        size_T = np.array([len(tokenizer.token_bytes(i)) for i in y.ids])
        chunk_id_NT[n, y.places] = chunk_T
        length_NK[n] = np.bincount(chunk_T, minlength=len(VALUES))
        characters_NK[n] = np.bincount(chunk_T, weights=size_T, minlength=len(VALUES))
    there_NK, valid_N = length_NK > 0, length_NK.sum(1) > 0
    chunks = on_host(
        Chunks,
        chunk_id=chunk_id_NT.reshape(P, G, T),
        length=length_NK.reshape(P, G, -1),
        characters=characters_NK.reshape(P, G, -1),
        mask=there_NK.reshape(P, G, -1),
        valid=valid_N.reshape(P, G),
    )
    value_NK = np.where(there_NK, VALUES, 0)
    return chunks, on_host(Scores, value=value_NK.reshape(P, G, -1), valid=valid_N.reshape(P, G))
