"""Answers taken apart by the helpers outside of training: nothing is rewarded, nothing learnt."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxreason.agents import boundaries, calibration, episode, prompts
from jaxreason.agents.episode import Clock, Episode
from jaxreason.agents.helper_sampling import Asking
from jaxreason.agents.roles import REASON
from jaxreason.agents.rows import chunk_fields
from jaxreason.config import Config
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.grading.pool import Grades
from jaxreason.tasks.opening import task_of
from jaxreason.tasks.reading import Reasoning, find_reasoning
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
    advance: Callable[[int], None] = lambda answers: None,
) -> list[dict[str, Any]]:
    """Let the helpers split the reasoning of some answers and score its chunks, drawn as in training.

    Args:
      params: of `config.for_helpers`.
      problems: one for each answer.
      answers: token ids, the end token left out. An empty answer, and one without reasoning, is not asked about.
      key, wait: as in `episode.run`.
      rows: answers of one batch, filled up with empty ones; it decides no draw. With those of a training step no
        program is compiled that training does not need.
      advance: is told how many answers more are done.

    Returns:
      `rows.chunk_fields` of each answer.
    """
    T, task = config.sampling.max_completion_length, task_of(config.data)
    read = [find_reasoning(row, tokenizer, task.read) for row in answers]
    asking = Asking(params, key, config.for_helpers, tokenizer, wait)
    asking = dataclasses.replace(asking, lift=_lift(asking, problems, read))
    found = []
    for start in range(0, len(answers), rows):
        ids = list(answers[start : start + rows])
        reasonings = read[start : start + rows] + [find_reasoning([], tokenizer, task.read)] * (rows - len(ids))
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
        nothing = np.zeros(rows, bool)  # nobody asks how they are graded
        grades = Grades(nothing, nothing, [""] * rows)
        played = Episode(asked, {}, {REASON.name: rollout}, reasonings, grades)
        wanted = np.array([bool(r.ids) for r in reasonings])
        played = episode.ask_helpers(dataclasses.replace(asking, first=start), played, wanted, Clock())
        assert played.segmentation is not None
        assert played.scoring is not None
        found += [chunk_fields(played.segmentation, played.scoring, n) for n in range(rows)]
        advance(min(rows, len(answers) - start))
    return found[: len(answers)]


def _lift(asking: Asking, problems: Sequence[Problem], reasonings: Sequence[Reasoning]) -> float | None:
    """The lift of a new chunk for all of these answers, so that batches don't matter; None where there is none."""
    config, tokenizer = asking.config, asking.tokenizer
    if not config.agents.calibrated:
        return None
    scored, texts = config.agents.helpers == "one", [y.text for y in reasonings]
    if scored:
        asked = prompts.render_annotate([p.question for p in problems], texts, config.agents, tokenizer)
    else:
        asked = prompts.render_segment(texts, config.agents, tokenizer)
    rows = [ids if y.ids else [] for ids, y in zip(tokenizer.encode_batch(asked), reasonings, strict=True)]
    places = [boundaries.places(y.ids, tokenizer, max_chunks=config.agents.max_chunks) for y in reasonings]
    return calibration.solve(asking.params, rows, [y.ids for y in reasonings], places, config, tokenizer, scored=scored)
