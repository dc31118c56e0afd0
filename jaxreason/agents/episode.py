"""One batch of problems through all three roles: render, sample, parse, three times.

Text is made and read here, on the host; sampling is jitted and sees arrays only. What comes out is everything that
rewards, monitors and logs may want to know of the batch.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from jaxreason.agents import alignment, boundaries, calibration, constraints, helper_sampling, prompts
from jaxreason.agents.alignment import Scoring, Segmentation
from jaxreason.agents.roles import ANNOTATE, REASON, SCORE, SEGMENT, Role, score_limit, segment_limit, token_limits
from jaxreason.config import Config
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.grading.pool import Grades, Pool
from jaxreason.grpo.batch import mini_batches
from jaxreason.parallel import hosts
from jaxreason.parallel.rules import place
from jaxreason.sampling.generate import generate
from jaxreason.sampling.methods import Method
from jaxreason.tasks.base import Task
from jaxreason.tasks.grading import grade_answers
from jaxreason.tasks.labels import Labels, labels_of
from jaxreason.tasks.opening import task_of
from jaxreason.tasks.reading import Reasoning, find_reasoning
from jaxreason.types import Chunks, HostRollout, Lift, Params, PromptBatch, Rollout, Scores

Rows = TypeVar("Rows", Chunks, Scores)


@dataclasses.dataclass(frozen=True)
class Episode:
    """A batch of P problems with G rollouts each. Lists have P*G entries, in the order P, G."""

    problems: list[Problem]
    prompts: dict[str, PromptBatch]  # role -> P prompts (reason) or P*G prompts (helpers), NumPy
    rollouts: dict[str, HostRollout]  # role -> [P G ...]
    reasonings: list[Reasoning]
    grades: Grades  # [P*G]
    labels: list[Labels | None] = dataclasses.field(default_factory=list)  # the task's own, None where it has none
    scorer_prompts: list[list[int]] = dataclasses.field(
        default_factory=list
    )  # tokens of what each row's scorer is asked
    segmentation: Segmentation | None = None  # None where no helper was asked
    scoring: Scoring | None = None
    lift: Lift | None = None  # of a new chunk; None where helpers split at their own odds
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # phase -> wall time

    @property
    def shape(self) -> tuple[int, int]:
        """P and G."""
        P, G = self.rollouts[REASON.name].length.shape
        return P, G


class Clock:
    """Wall time of consecutive phases."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Book the time since the last lap to a phase."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def reason(
    params: Params,
    problems: Sequence[Problem],
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    *,
    num_generations: int,
    temperature: float,
    method: Method,
) -> tuple[PromptBatch, Rollout]:
    """Let the reasoner answer every problem num_generations times."""
    rows = tokenizer.encode_batch(prompts.render_reason(problems, task_of(config.data), config.agents, tokenizer))
    asked = helper_sampling.left_pad(rows, config.data.max_prompt_length, tokenizer.pad_id)
    T = config.sampling.max_completion_length
    limit_PG = place(np.full((len(problems), num_generations), T, np.int32), "batch")
    rollout = generate(
        params,
        place(asked, "batch"),
        limit_PG,
        key,
        temperature,
        config=config.model,
        num_generations=num_generations,
        max_completion_length=T,
        eos_ids=tokenizer.eos_ids,
        pad_id=tokenizer.pad_id,
        method=method,
    )
    return asked, rollout


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


def run(
    params: Params,
    helper_params: Params | None,
    problems: Sequence[Problem],
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    pool: Pool | None = None,
    wait: Callable[[Rollout], Rollout] = jax.block_until_ready,
    lift: float | None = None,
) -> Episode:
    """Play one batch.

    Args:
      params: the reasoner's.
      helper_params: the helpers', usually the same; None for a method without helpers.
      key: of this step; every role draws from its own fold of it.
      pool: for answers that need algebra.
      wait: returns a rollout when the device has made it, or raises to give the batch up.
      lift: of a new chunk, where agents.calibrated; None: solved on this batch, see `calibration`.
    """
    clock = Clock()
    asked, rollout = _reason_in_batches(params, problems, jax.random.fold_in(key, REASON.id), config, tokenizer, wait)
    clock.lap("reason")
    read = read_answers(rollout, problems, task_of(config.data), tokenizer, pool)
    clock.lap("grade")
    episode = Episode(
        problems=list(problems),
        prompts={REASON.name: asked},
        rollouts={REASON.name: rollout},
        reasonings=read.reasonings,
        grades=read.grades,
        labels=read.labels,
        seconds=clock.seconds,
    )
    if helper_params is None:
        return episode
    # A cut y could not be re-emitted within the segmenter's limit; one that can't be graded is not learnt from.
    wanted = rollout.finished.reshape(-1) & read.grades.gradable & [bool(r.ids) for r in read.reasonings]
    return ask_helpers(helper_params, episode, wanted, key, config, tokenizer, clock, wait, lift)


def _reason_in_batches(
    params, problems: Sequence[Problem], key: jax.Array, config: Config, tokenizer: Tokenizer, wait
) -> tuple[PromptBatch, HostRollout]:
    """`reason` on sampling.rollout_batches shares of the problems, one after the other."""
    sampling = config.sampling
    shares, found = mini_batches(len(problems), sampling.rollout_batches), []
    for b, share in enumerate(shares):
        asked, rollout = reason(
            params,
            problems[share],
            key if len(shares) == 1 else jax.random.fold_in(key, b),
            config,
            tokenizer,
            num_generations=sampling.num_generations,
            temperature=sampling.temperature,
            method=Method(top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p),
        )
        # Waited for here: batches that queue up would each hold a cache.
        found.append((asked, HostRollout.of(wait(rollout))))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def ask_helpers(
    params: Params,
    episode: Episode,
    wanted: np.ndarray,
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    clock: Clock,
    wait: Callable[[Rollout], Rollout] = jax.block_until_ready,
    lift: float | None = None,
) -> Episode:
    """Let the segmenter split each y, and the scorer score the chunks; or one helper do both in one answer.

    Args:
      params: of `config.for_helpers`.
      wanted: bool [P*G]; other rows are not asked about.
      key, wait, lift: as in `run`.
    """
    config = config.for_helpers
    if config.agents.helpers == "one":
        own_key = jax.random.fold_in(key, ANNOTATE.id)
        return _annotate(params, episode, wanted, own_key, config, tokenizer, clock, wait, lift)
    segment_key, score_key = (jax.random.fold_in(key, role.id) for role in (SEGMENT, SCORE))
    episode = _segment(params, episode, wanted, segment_key, config, tokenizer, clock, wait, lift)
    return _score(params, episode, score_key, config, tokenizer, clock, wait)


def _segment(params, episode: Episode, wanted, key, config: Config, tokenizer, clock: Clock, wait, lift) -> Episode:
    """Ask for a split of every wanted y and read it."""
    texts = prompts.render_segment([y.text for y in episode.reasonings], config.agents, tokenizer)
    frame = helper_sampling.frame(prompts.render_segment([""], config.agents, tokenizer), tokenizer)
    longest = frame + config.sampling.max_completion_length
    encoded = hosts.share(len(texts), lambda part: tokenizer.encode_batch(texts[part]))
    asked, rollout, lengths, lift = _ask_about_y(
        params, episode, wanted, SEGMENT, encoded, longest, key, config, tokenizer, wait, lift
    )
    clock.lap("segment")
    P, G, T = episode.rollouts[REASON.name].tokens.shape

    def read(part: slice):
        answers, ended = helper_sampling.texts_of(rollout, lengths, tokenizer, part)
        split = alignment.build_chunks(
            episode.reasonings[part], answers, ended, tokenizer, config.agents, shape=(len(answers), 1, T)
        )
        return [split]

    segmentation = _joined_chunks(hosts.share(P * G, read), (P, G))
    clock.lap("parse")
    return dataclasses.replace(
        episode,
        prompts=episode.prompts | {SEGMENT.name: asked},
        rollouts=episode.rollouts | {SEGMENT.name: rollout},
        segmentation=segmentation,
        lift=lift,
    )


def _ask_about_y(
    params,
    episode: Episode,
    wanted,
    role: Role,
    encoded: list[list[int]],
    longest: int,
    key,
    config: Config,
    tokenizer,
    wait,
    lift: float | None,
) -> tuple[PromptBatch, HostRollout, list[int], Lift | None]:
    """Ask a helper that writes y again, split, about the wanted rows: prompts, answers, the tokens of each y, and the
    lift of a new chunk.

    Args:
      encoded: a prompt a row; those of rows that are not wanted are not read.
      longest: tokens such a prompt can have.
    """
    rows = [ids if want else [] for want, ids in zip(wanted, encoded, strict=True)]
    ys = [y.ids if want else [] for want, y in zip(wanted, episode.reasonings, strict=True)]
    scored = role == ANNOTATE
    tags = constraints.tag_tokens(tokenizer, scored=scored)
    constraint, places = None, None
    if config.agents.natural:
        places = [boundaries.places(y, tokenizer, max_chunks=config.agents.max_chunks) for y in ys]
    if not config.agents.calibrated:
        lift = None
    elif lift is None:
        assert places is not None  # what is calibrated is natural
        lift = calibration.solve(params, rows, ys, places, config, tokenizer, scored=scored)
    if config.agents.decoding == "constrained":
        most = config.sampling.max_completion_length
        constraint = constraints.segment_constraint(
            ys, tokenizer, max_tokens=most, scored=scored, places=places, lift=lift
        )
    lengths = [len(ids) for ids in ys]
    asked, rollout = helper_sampling.ask(
        params,
        rows,
        longest,
        segment_limit(np.array(lengths), config.agents, tag_tokens=tags),
        limits_of_roles(config, tokenizer)[role.name],
        key,
        config,
        tokenizer,
        constraint,
        episode.shape,
        wait,
    )
    return asked, rollout, lengths, None if lift is None else constraints.new_chunk_lift(lift, tokenizer)


def _score(params, episode: Episode, key, config: Config, tokenizer, clock: Clock, wait) -> Episode:
    """Ask for a score of every chunk and read them."""
    assert episode.segmentation is not None  # `_segment` came before
    P, G = episode.shape
    texts = score_prompts(episode, config, tokenizer)
    counts = [len(chunks) for chunks in episode.segmentation.texts]
    encoded = hosts.share(len(texts), lambda part: tokenizer.encode_batch(texts[part]))
    rows = [ids if n else [] for n, ids in zip(counts, encoded, strict=True)]
    constraint = None
    if config.agents.decoding == "constrained":
        constraint = constraints.score_constraint(counts, tokenizer, config.agents)
    asked, rollout = helper_sampling.ask(
        params,
        rows,
        score_prompt_limit(config, tokenizer),
        score_limit(np.array(counts), config.agents),
        token_limits(config)[SCORE.name],
        key,
        config,
        tokenizer,
        constraint,
        (P, G),
        wait,
    )
    clock.lap("score")
    read = hosts.share(
        P * G, lambda part: list(zip(*helper_sampling.texts_of(rollout, counts, tokenizer, part), strict=True))
    )
    answers, ended = map(list, zip(*read, strict=True))
    scoring = alignment.build_scores(episode.segmentation.chunks, answers, ended)
    clock.lap("parse")
    return dataclasses.replace(
        episode,
        prompts=episode.prompts | {SCORE.name: asked},
        rollouts=episode.rollouts | {SCORE.name: rollout},
        scorer_prompts=encoded,
        scoring=scoring,
    )


def _annotate(params, episode: Episode, wanted, key, config: Config, tokenizer, clock: Clock, wait, lift) -> Episode:
    """Ask for a split of every wanted y with a score of each chunk, and read both."""
    texts, longest = annotate_prompts(episode, config, tokenizer), annotate_prompt_limit(config, tokenizer)
    encoded = hosts.share(len(texts), lambda part: tokenizer.encode_batch(texts[part]))
    asked, rollout, lengths, lift = _ask_about_y(
        params, episode, wanted, ANNOTATE, encoded, longest, key, config, tokenizer, wait, lift
    )
    clock.lap("annotate")
    P, G, T = episode.rollouts[REASON.name].tokens.shape

    def read(part: slice):
        answers, ended = helper_sampling.texts_of(rollout, lengths, tokenizer, part)
        some = episode.reasonings[part]
        return [alignment.build_annotations(some, answers, ended, tokenizer, config.agents, shape=(len(answers), 1, T))]

    splits, scorings = zip(*hosts.share(P * G, read), strict=True)
    clock.lap("parse")
    return dataclasses.replace(
        episode,
        prompts=episode.prompts | {ANNOTATE.name: asked},
        rollouts=episode.rollouts | {ANNOTATE.name: rollout},
        scorer_prompts=encoded,
        segmentation=_joined_chunks(splits, (P, G)),
        scoring=_joined_scores(scorings, (P, G)),
        lift=lift,
    )


def annotate_prompts(episode: Episode, config: Config, tokenizer: Tokenizer) -> list[str]:
    """What a helper that segments and scores is asked about each row."""
    G = episode.shape[1]
    questions = [problem.question for problem in episode.problems for _ in range(G)]
    return prompts.render_annotate(questions, [y.text for y in episode.reasonings], config.agents, tokenizer)


def annotate_prompt_limit(config: Config, tokenizer: Tokenizer) -> int:
    """Tokens such a prompt can have: the question and y."""
    frame = helper_sampling.frame(prompts.render_annotate([""], [""], config.agents, tokenizer), tokenizer)
    return frame + config.data.max_prompt_length + config.sampling.max_completion_length


def score_prompts(episode: Episode, config: Config, tokenizer: Tokenizer) -> list[str]:
    """What the scorer is asked about each row; a row without chunks gets a prompt nobody reads."""
    assert episode.segmentation is not None  # there is nothing to score without a split
    G = episode.shape[1]
    questions = [problem.question for problem in episode.problems for _ in range(G)]
    return prompts.render_score(questions, episode.segmentation.texts, config.agents, tokenizer)


def score_prompt_limit(config: Config, tokenizer: Tokenizer) -> int:
    """Tokens a scorer's prompt can have: the question, y, and a number for each chunk."""
    K = config.agents.max_chunks
    frame = helper_sampling.frame(prompts.render_score([""], [[""] * K], config.agents, tokenizer), tokenizer)
    return frame + config.data.max_prompt_length + config.sampling.max_completion_length


def row_limits(config: Config, tokenizer: Tokenizer) -> dict[str, int]:
    """The longest prompt and completion of each role together, by role: what a packed row must hold."""
    limits = limits_of_roles(config, tokenizer)
    y = config.sampling.max_completion_length
    frame = helper_sampling.frame(prompts.render_segment([""], config.agents, tokenizer), tokenizer)
    return {
        REASON.name: config.data.max_prompt_length + y,
        SEGMENT.name: frame + y + limits[SEGMENT.name],
        SCORE.name: score_prompt_limit(config, tokenizer) + limits[SCORE.name],
        ANNOTATE.name: annotate_prompt_limit(config, tokenizer) + limits[ANNOTATE.name],
    }


def limits_of_roles(config: Config, tokenizer: Tokenizer) -> dict[str, int]:
    """`token_limits` with the tags of a tokenizer."""
    tags = (constraints.tag_tokens(tokenizer), constraints.tag_tokens(tokenizer, scored=True))
    return token_limits(config, tag_tokens=tags[0], scored_tag_tokens=tags[1])


def _joined_chunks(parts: Sequence[Segmentation], shape: tuple[int, int]) -> Segmentation:
    """The splits of all hosts' rows [n 1 ...], as one of rows [P G ...]."""
    return Segmentation(
        _on_one_grid([part.chunks for part in parts], shape),
        [row for part in parts for row in part.texts],
        [row for part in parts for row in part.causes],
        [row for part in parts for row in part.exact],
    )


def _joined_scores(parts: Sequence[Scoring], shape: tuple[int, int]) -> Scoring:
    """The same of scores."""
    causes = [row for part in parts for row in part.causes]
    return Scoring(_on_one_grid([part.scores for part in parts], shape), causes)


def _on_one_grid(parts: Sequence[Rows], shape: tuple[int, int]) -> Rows:
    return jax.tree.map(lambda *x: np.concatenate(x).reshape(*shape, *x[0].shape[2:]), *parts)
