"""Answers taken apart by the helpers outside of training: nothing is rewarded, nothing learnt."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxreason.agents import episode
from jaxreason.agents.episode import Clock, Episode
from jaxreason.agents.helper_sampling import Asking
from jaxreason.agents.roles import REASON
from jaxreason.agents.rows import chunk_fields
from jaxreason.config import Config
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.grading.pool import Grades
from jaxreason.tasks.opening import task_of
from jaxreason.tasks.reading import find_reasoning
from jaxreason.types import HostRollout, Params, Rollout


def explain(
    params: Params,
    problems: Sequence[Problem],
    answers: Sequence[Sequence[int]],
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    *,
    rows: int,
    wait: Callable[[Rollout], Rollout] = jax.block_until_ready,
) -> list[dict[str, Any]]:
    """Let the helpers split the reasoning of some answers and score its chunks, drawn as in training.

    Args:
      params: of `config.for_helpers`.
      problems: one for each answer.
      answers: token ids, the end token left out. An empty answer, and one without reasoning, is not asked about.
      key, wait: as in `episode.run`.
      rows: answers of one batch, filled up with empty ones; it decides no draw. With those of a training step no
        program is compiled that training does not need.

    Returns:
      `rows.chunk_fields` of each answer.
    """
    T, task = config.sampling.max_completion_length, task_of(config.data)
    found = []
    for start in range(0, len(answers), rows):
        ids = list(answers[start : start + rows])
        ids += [[]] * (rows - len(ids))
        asked = list(problems[start : start + rows])
        asked += asked[:1] * (rows - len(asked))
        rollout = HostRollout(
            tokens=np.full((rows, 1, T), tokenizer.pad_id, np.int32),
            length=np.array([[len(row)] for row in ids], np.int32),
            logp=np.zeros((rows, 1, T), np.float32),
            finished=np.zeros((rows, 1), bool),
        )
        for n, row in enumerate(ids):
            rollout.tokens[n, 0, : len(row)] = row
        reasonings = [find_reasoning(row, tokenizer, task.read) for row in ids]
        nothing = np.zeros(rows, bool)  # nobody asks how they are graded
        grades = Grades(nothing, nothing, [""] * rows)
        played = Episode(asked, {}, {REASON.name: rollout}, reasonings, grades)
        wanted = np.array([bool(r.ids) for r in reasonings])
        asking = Asking(params, key, config.for_helpers, tokenizer, wait, first=start)
        played = episode.ask_helpers(asking, played, wanted, Clock())
        assert played.segmentation is not None
        assert played.scoring is not None
        found += [chunk_fields(played.segmentation, played.scoring, n) for n in range(rows)]
    return found[: len(answers)]
