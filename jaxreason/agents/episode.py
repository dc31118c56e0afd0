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

from jaxreason.agents import alignment, boundaries, calibration, constraints, helper_sampling, prompts, reasoner, sizes
from jaxreason.agents.alignment import Scoring, Segmentation
from jaxreason.agents.helper_sampling import Asking, Question
from jaxreason.agents.roles import ANNOTATE, REASON, SCORE, SEGMENT, Role, score_limit, segment_limit, token_limits
from jaxreason.config import Config
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.grading.pool import Grades, Pool
from jaxreason.parallel import hosts
from jaxreason.tasks.labels import Labels
from jaxreason.tasks.opening import task_of
from jaxreason.tasks.reading import Reasoning
from jaxreason.types import Chunks, HostRollout, Lift, Params, PromptBatch, Rollout, Scores

Rows = TypeVar("Rows", Chunks, Scores)


@dataclasses.dataclass(frozen=True)
class Sampled:
    """What dynamic sampling did to fill a step's batch, see `agents.dynamic_sampling`."""

    batches: int
    """times that the reasoner was asked"""
    groups: int
    """sampled in all"""
    replaced: int
    """without spread, and not in the batch. The next step begins behind them and those in the batch; what was sampled
    behind these is met again"""
    without_spread: int
    """in the batch, since the bound was reached before enough others were found"""
    all_right: int
    """in the batch, all of whose answers are right"""
    easy_share: float
    """of the batch that such groups may be for their own sake"""
    accuracy: float | None
    """right answers among all that could be graded, those of groups left out too; None where none could"""
    tokens_left_out: int
    """of completions that are not in the batch"""


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
    sampled: Sampled | None = None  # what dynamic sampling did; None where it is off
    following: Rollout | None = None  # the next step's first completions, which the device may still be drawing
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # phase -> wall time

    @property
    def shape(self) -> tuple[int, int]:
        """P and G."""
        P, G = self.rollouts[REASON.name].length.shape
        return P, G

    @property
    def rows_taken(self) -> int:
        """Rows of the data that are used up: those of its problems and of the replaced ones."""
        return len(self.problems) + (self.sampled.replaced if self.sampled else 0)


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


class Known(NamedTuple):
    """What earlier steps tell of this one."""

    expected: np.ndarray | None = None  # as in `reasoner.Drawing`
    lift: float | None = None  # of a new chunk, where agents.calibrated; None: solved on this batch, see `calibration`
    drawn: Rollout | None = None  # the batch's completions, begun by the step before


Answer = Callable[[Sequence[Problem], int], Episode]
"""The reasoner's answers to at most P problems, which draw by numbers from the given one on."""

Fill = Callable[[Episode, Answer], Episode]
"""An episode before helpers are asked -> another, for which more may have been sampled."""

Then = Callable[[int], Rollout | None]
"""Rows of the data that a batch takes -> the completions of the batch behind them, begun and not waited for."""


def run(
    params: Params,
    helper_params: Params | None,
    problems: Sequence[Problem],
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    pool: Pool | None = None,
    wait: Callable[[Rollout], Rollout] = jax.block_until_ready,
    known: Known = Known(),
    fill: Fill | None = None,
    then: Then = lambda rows: None,
) -> Episode:
    """Play one batch.

    Args:
      params: the reasoner's.
      helper_params: the helpers', usually the same; None for a method without helpers.
      key: of this step; every role draws from its own fold of it.
      pool: for answers that need algebra.
      wait: returns a rollout when the device has made it, or raises to give the batch up.
      known: what earlier steps tell of this one.
      fill: may have more sampled, see `dynamic_sampling`.
      then: begins what comes after this batch as soon as it is known how far in the data that is: before the answers
        are graded, or where they decide it, behind the last that was sampled.
    """
    clock, P = Clock(), len(problems)

    def answer(some: Sequence[Problem], first: int) -> Episode:
        # Fewer than P leave rows empty, evenly over the devices, so that one program does for all.
        at = np.arange(len(some)) * P // len(some)
        number, padded = np.full(P, -1), [some[0]] * P
        number[at] = first + np.arange(len(some))
        for row, problem in zip(at, some, strict=True):
            padded[row] = problem
        asked, drawn = reasoner.begin(params, padded, key, config, tokenizer, number=number)
        rollout = HostRollout.of(wait(drawn))
        clock.lap("reason")
        return graded(some, *jax.tree.map(lambda x: x[at], (asked, rollout)))

    def graded(some: Sequence[Problem], asked: PromptBatch, rollout: HostRollout) -> Episode:
        read = reasoner.read_answers(rollout, some, task_of(config.data), tokenizer, pool)
        clock.lap("grade")
        return Episode(
            problems=list(some),
            prompts={REASON.name: asked},
            rollouts={REASON.name: rollout},
            reasonings=read.reasonings,
            grades=read.grades,
            labels=read.labels,
            seconds=clock.seconds,
        )

    if known.drawn is None:
        asked, drawn = reasoner.begin(params, problems, key, config, tokenizer, known.expected)
    else:
        asked, drawn = reasoner.prompts_of(problems, config, tokenizer), known.drawn
    rollout = HostRollout.of(wait(drawn))
    clock.lap("reason")
    following = then(P) if fill is None else None
    episode = graded(problems, asked, rollout)
    if fill is not None:
        episode = fill(episode, answer)
        following = then(episode.rows_taken)
    episode = dataclasses.replace(episode, following=following)
    if helper_params is None:
        return episode
    # A cut y could not be re-emitted within the segmenter's limit; one that can't be graded is not learnt from.
    finished = episode.rollouts[REASON.name].finished.reshape(-1)
    wanted = finished & episode.grades.gradable & [bool(r.ids) for r in episode.reasonings]
    asking = Asking(helper_params, key, config.for_helpers, tokenizer, wait, lift=known.lift)
    return ask_helpers(asking, episode, wanted, clock)


def ask_helpers(asking: Asking, episode: Episode, wanted: np.ndarray, clock: Clock) -> Episode:
    """Let the segmenter split each y, and the scorer score the chunks; or one helper do both in one answer.

    Args:
      asking: with the key of the step; every role draws from its own fold of it.
      wanted: bool [P*G]; other rows are not asked about.
    """
    if asking.config.agents.helpers == "one":
        return _annotate(asking.of(ANNOTATE), episode, wanted, clock)
    return _score(asking.of(SCORE), _segment(asking.of(SEGMENT), episode, wanted, clock), clock)


def _segment(asking: Asking, episode: Episode, wanted: np.ndarray, clock: Clock) -> Episode:
    """Ask for a split of every wanted y and read it."""
    config, tokenizer = asking.config, asking.tokenizer
    texts = prompts.render_segment([y.text for y in episode.reasonings], config.agents, tokenizer)
    frame = helper_sampling.frame(prompts.render_segment([""], config.agents, tokenizer), tokenizer)
    longest = frame + config.sampling.max_completion_length
    encoded = hosts.share(len(texts), lambda part: tokenizer.encode_batch(texts[part]))
    asked, rollout, lengths, lift = _ask_about_y(asking, episode, wanted, SEGMENT, encoded, longest)
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
    asking: Asking, episode: Episode, wanted: np.ndarray, role: Role, encoded: list[list[int]], longest: int
) -> tuple[PromptBatch, HostRollout, list[int], Lift | None]:
    """Ask a helper that writes y again, split, about the wanted rows: prompts, answers, the tokens of each y, and the
    lift of a new chunk.

    Args:
      encoded: a prompt a row; those of rows that are not wanted are not read.
      longest: tokens such a prompt can have.
    """
    config, tokenizer = asking.config, asking.tokenizer
    rows = [ids if want else [] for want, ids in zip(wanted, encoded, strict=True)]
    ys = [y.ids if want else [] for want, y in zip(wanted, episode.reasonings, strict=True)]
    scored = role == ANNOTATE
    tags = constraints.tag_tokens(tokenizer, scored=scored)
    constraint, places = None, None
    if config.agents.natural:
        places = [boundaries.places(y, tokenizer, max_chunks=config.agents.max_chunks) for y in ys]
    lift = asking.lift if config.agents.calibrated else None
    if config.agents.calibrated and lift is None:
        assert places is not None  # what is calibrated is natural
        lift = calibration.solve(asking.params, rows, ys, places, config, tokenizer, scored=scored)
    if config.agents.decoding == "constrained":
        most = config.sampling.max_completion_length
        constraint = constraints.segment_constraint(
            ys, tokenizer, max_tokens=most, scored=scored, places=places, lift=lift
        )
    lengths = [len(ids) for ids in ys]
    question = Question(
        rows=rows,
        longest=longest,
        limits=segment_limit(np.array(lengths), config.agents, tag_tokens=tags),
        most=sizes.limits_of_roles(config, tokenizer)[role.name],
        expected=np.array(lengths),
        constraint=constraint,
    )
    asked, rollout = helper_sampling.ask(asking, question, episode.shape)
    return asked, rollout, lengths, None if lift is None else constraints.new_chunk_lift(lift, tokenizer)


def _score(asking: Asking, episode: Episode, clock: Clock) -> Episode:
    """Ask for a score of every chunk and read them."""
    assert episode.segmentation is not None  # `_segment` came before
    config, tokenizer = asking.config, asking.tokenizer
    P, G = episode.shape
    texts = score_prompts(episode, config, tokenizer)
    counts = [len(chunks) for chunks in episode.segmentation.texts]
    encoded = hosts.share(len(texts), lambda part: tokenizer.encode_batch(texts[part]))
    constraint = None
    if config.agents.decoding == "constrained":
        constraint = constraints.score_constraint(counts, tokenizer, config.agents)
    question = Question(
        rows=[ids if n else [] for n, ids in zip(counts, encoded, strict=True)],
        longest=sizes.score_prompt_limit(config, tokenizer),
        limits=score_limit(np.array(counts), config.agents),
        most=token_limits(config)[SCORE.name],
        expected=np.array(counts),
        constraint=constraint,
    )
    asked, rollout = helper_sampling.ask(asking, question, (P, G))
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


def _annotate(asking: Asking, episode: Episode, wanted: np.ndarray, clock: Clock) -> Episode:
    """Ask for a split of every wanted y with a score of each chunk, and read both."""
    config, tokenizer = asking.config, asking.tokenizer
    texts, longest = annotate_prompts(episode, config, tokenizer), sizes.annotate_prompt_limit(config, tokenizer)
    encoded = hosts.share(len(texts), lambda part: tokenizer.encode_batch(texts[part]))
    asked, rollout, lengths, lift = _ask_about_y(asking, episode, wanted, ANNOTATE, encoded, longest)
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


def score_prompts(episode: Episode, config: Config, tokenizer: Tokenizer) -> list[str]:
    """What the scorer is asked about each row; a row without chunks gets a prompt nobody reads."""
    assert episode.segmentation is not None  # there is nothing to score without a split
    G = episode.shape[1]
    questions = [problem.question for problem in episode.problems for _ in range(G)]
    return prompts.render_score(questions, episode.segmentation.texts, config.agents, tokenizer)


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
