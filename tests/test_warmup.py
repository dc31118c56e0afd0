"""Rows of the supervised start."""

import dataclasses

import numpy as np

from jaxreason import warmup
from jaxreason.config import Config
from tests.agents.stand_in import marked


class Exercises:
    """A drill whose lines grow: `1=1`, `22=22`, and so on, up to six digits."""

    def drill(self, rng, count):
        return "".join(f"{str(i % 6 + 1) * (i % 6 + 1)}={i % 6}\n" for i in range(count))


def test_a_drill_may_have_lines_of_several_lengths(monkeypatch):
    """Catches rows counted by the first line: sheets longer than a row were refused under another setting's name."""
    monkeypatch.setattr(warmup, "task_of", lambda data: Exercises())
    settings = dataclasses.replace(Config().warmup, max_steps=2, drill_steps=2, rows_per_step=3, row_length=20)
    tokenizer = marked()
    rows = warmup.drill_rows(dataclasses.replace(Config(), warmup=settings), tokenizer)
    assert rows["tokens"].shape == (6, 20)
    (ids,) = tokenizer.encode_batch([Exercises().drill(None, 5)])
    np.testing.assert_array_equal(rows["tokens"][0], ids[:20])
    (equals,) = tokenizer.encode_batch(["="])
    after = np.pad(rows["tokens"] == equals[0], ((0, 0), (1, 0)))[:, :-1]
    assert after.sum() > 6 * 2
    np.testing.assert_array_equal(rows["weight"], after)
