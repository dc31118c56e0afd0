"""The reasoner: what it is asked, its completions, and what stands in them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.agents import helper_sampling, prompts
from jaxreason.agents.roles import REASON
from jaxreason.config import Config
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.grading.pool import Grades, Pool
from jaxreason.parallel import hosts
from jaxreason.parallel.rules import place
from jaxreason.sampling.engine import generate
from jaxreason.sampling.methods import Method
from jaxreason.sampling.query import Decoding, Query
from jaxreason.sampling.room import room_for
from jaxreason.sampling.stream import watched
from jaxreason.tasks.base import Task
from jaxreason.tasks.grading import grade_answers
from jaxreason.tasks.labels import Labels, labels_of
from jaxreason.tasks.opening import task_of
from jaxreason.tasks.reading import Reasoning, find_reasoning
from jaxreason.types import HostRollout, Params, PromptBatch, Rollout, on_host


class Drawing(NamedTuple):
    """How the reasoner's completions are drawn."""

    num_generations: int
    temperature: float
    method: Method
    expected: np.ndarray | None = None  # float [P], tokens of a completion by earlier ones; the longest begin first
    number: np.ndarray | None = (
        None  # int [P], under which each problem draws, below 0: it isn't answered; None: 0..P-1
    )


def sample(
    params: Params,
    problems: Sequence[Problem],
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    drawing: Drawing,
    watch: Callable[[int], None] | None = None,
    wait: Callable[[Any], Any] = jax.block_until_ready,
) -> tuple[PromptBatch, Rollout]:
    """Let the reasoner answer every problem num_generations times, each with draws of its own place among them.

    Args:
      watch: is told now and then how many problems are done; None: nothing comes back before the end.
      wait: see `stream.watched`, which alone waits.
    """
    P, G, T = len(problems), drawing.num_generations, config.sampling.max_completion_length
    number = np.arange(P) if drawing.number is None else drawing.number
    asked = prompts_of(problems, config, tokenizer)
    expected = np.zeros(P) if drawing.expected is None else drawing.expected
    query = on_host(
        Query,
        prompts=asked,
        limit=np.where(number < 0, 0, T)[:, None].repeat(G, 1).astype(np.int32),
        number=number.astype(np.int32),
        expected=expected.astype(np.float32),
    )
    room = room_for(config.sampling, P * G, T)
    how = Decoding(config.model, T, tokenizer.eos_ids, tokenizer.pad_id, drawing.method, room)
    ask = generate if watch is None else functools.partial(watched, watch=watch, wait=wait)
    return asked, ask(params, place(query, "batch"), key, drawing.temperature, how)


def prompts_of(problems: Sequence[Problem], config: Config, tokenizer: Tokenizer) -> PromptBatch:
    """What the reasoner is asked."""
    rows = tokenizer.encode_batch(prompts.render_reason(problems, task_of(config.data), config.agents, tokenizer))
    return helper_sampling.left_pad(rows, config.data.max_prompt_length, tokenizer.pad_id)


def begin(
    params: Params,
    problems: Sequence[Problem],
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    expected: np.ndarray | None = None,
    number: np.ndarray | None = None,
) -> tuple[PromptBatch, Rollout]:
    """Have a step's completions sampled, as its configuration says; returns before the device has.

    Args:
      key: of the step, as in `episode.run`.
      expected, number: as in `Drawing`.
    """
    sampling = config.sampling
    method = Method(top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p)
    drawing = Drawing(sampling.num_generations, sampling.temperature, method, expected, number)
    return sample(params, problems, jax.random.fold_in(key, REASON.id), config, tokenizer, drawing)


class Read(NamedTuple):
    """What stands in P*G completions, in the order P, G."""

    reasonings: list[Reasoning]
    grades: Grades
    labels: list[Labels | None]


def read_answers(
    rollout: HostRollout, problems: Sequence[Problem], task: Task, tokenizer: Tokenizer, pool: Pool | None
) -> Read:
    """Find y and the answer in every completion, grade it and label its lines, each host its own rows. A completion cut
    at the limit is graded by its text."""
    asked = [problem for problem in problems for _ in range(rollout.length.shape[1])]

    def read(part: slice):
        ids, some = rollout.completion_ids[part], asked[part]
        found = [find_reasoning(row, tokenizer, task.read) for row in ids]
        grades = grade_answers(task, found, some, pool)
        labels = [labels_of(task, problem, row, tokenizer) for problem, row in zip(some, ids, strict=True)]
        return list(zip(found, grades.correct, grades.gradable, grades.status, labels, strict=True))

    found, correct, gradable, status, labels = map(list, zip(*hosts.share(len(asked), read), strict=True))
    return Read(found, Grades(np.array(correct, bool), np.array(gradable, bool), status), labels)
