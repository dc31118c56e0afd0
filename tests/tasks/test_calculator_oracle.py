"""Chunks from the labels of the built-in task, against lines counted by hand."""

import numpy as np

from jaxreason.data.problems import Problem
from jaxreason.tasks import oracle
from jaxreason.tasks.calculator.demonstrations import NEEDLESS, demonstrate
from jaxreason.tasks.calculator.task import Calculator
from jaxreason.tasks.labels import labels_of
from jaxreason.tasks.reading import find_reasoning
from jaxreason.types import HostRollout


class Bytes:
    """A token a byte, and 0 for the end."""

    eos_id, eos_ids, pad_id = 0, (0,), 1

    def token_bytes(self, token):
        return b"" if token < 2 else bytes([token])


def _rollout(texts):
    rows = [[*text.encode(), 0] for text in texts]
    tokens = np.ones((1, len(rows), max(map(len, rows)) + 2), np.int32)
    for g, row in enumerate(rows):
        tokens[0, g, : len(row)] = row
    length = np.array([[len(row) for row in rows]], np.int32)
    flat = np.ones(length.shape, bool)
    return HostRollout(tokens=tokens, length=length, logp=tokens.astype(np.float32), finished=flat)


def _truth(problem, rollout, tokenizer):
    task = Calculator()
    reasonings = [find_reasoning(ids, tokenizer, task.read) for ids in rollout.completion_ids]
    labels = [labels_of(task, problem, ids, tokenizer) for ids in rollout.completion_ids]
    return reasonings, *oracle.true_chunks(task, labels, reasonings, tokenizer, rollout.tokens.shape)


def test_every_token_of_y_is_in_the_chunk_of_its_line():
    """Catches tokens of the answer line charged, needless ones free, and lengths that do not sum to |y|."""
    problem = Problem("a", "3;A+5;B*4+6-1;", "2")
    rng = np.random.default_rng(0)
    wordy, terse = demonstrate(problem, rng, verbosity=1.0), demonstrate(problem, rng, verbosity=0.0)
    texts = ["".join(piece.text for piece in pieces) for pieces in (wordy, terse)]
    rollout, tokenizer = _rollout(texts), Bytes()
    reasonings, chunks, scores = _truth(problem, rollout, tokenizer)
    for g, pieces in enumerate((wordy, terse)):
        spare = sum(len(p.text) for p in pieces if p.kind in NEEDLESS)
        assert chunks.length[0, g, oracle.SPARE] == spare
        assert chunks.length[0, g].sum() == len(reasonings[g].ids) < len(texts[g])
        assert (chunks.chunk_id[0, g] == oracle.SPARE).sum() == spare
        assert (chunks.chunk_id[0, g, len(texts[g]) :] == 2).all()
    assert chunks.length[0, 0, oracle.SPARE] > 0
    assert scores.value[0].tolist() == [[5, 1], [5, 0 if chunks.length[0, 1, oracle.SPARE] == 0 else 1]]


def test_what_is_not_needed_is_charged():
    """Catches a chain that is free because it is garbled, or written twice: the ceiling would not be one."""
    problem = Problem("a", "3;A+5;B*2;", "2")
    texts = ["A3+5=1\nB1*2=2\n\\boxed{2}", "A3+5=1\nA3+5=1\nB2*1=2\n\\boxed{2}"]
    rollout, tokenizer = _rollout(texts), Bytes()
    _, chunks, _ = _truth(problem, rollout, tokenizer)
    assert chunks.length[0].tolist() == [[14, 0], [7, 14]]
