"""Evaluation of the deployed role, the reasoner, on held-out problems: sample, read, grade, count.

All problems go through the slots in one go, those first that are expected to be answered at length. A problem draws by
its number among them and by the key, whatever the number of slots.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.agents import reasoner
from jaxreason.agents.reasoner import Drawing
from jaxreason.agents.rows import completion_rows, counted_right
from jaxreason.config import Config
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluation import efficiency, graders, metrics
from jaxreason.grading.pool import Pool
from jaxreason.parallel.rules import whole_batch
from jaxreason.sampling.methods import Method
from jaxreason.tasks import labels
from jaxreason.tasks.base import overrides
from jaxreason.tasks.opening import task_of
from jaxreason.types import HostRollout, Params, Rollout


class Answers(NamedTuple):
    """k answers to each of Q problems."""

    correct: np.ndarray  # bool [Q k]
    gradable: np.ndarray  # bool [Q k]
    length: np.ndarray  # int [Q k], tokens
    finished: np.ndarray  # bool [Q k]
    needless: np.ndarray  # int [Q k], tokens of needless lines; 0 where lines have no labels
    first: np.ndarray  # int [Q T], the tokens of each problem's first answer
    samples: list[dict]  # Q*k rows for evaluation/


def answer_all(
    params: Params,
    problems: Sequence[Problem],
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    drawing: Drawing,
    *,
    compared: bool = False,
    pool: Pool | None = None,
    advance: Callable[[int], None] = lambda problems: None,
    wait: Callable[[Any], Any] = jax.block_until_ready,
) -> Answers:
    """Answer every problem as often as `drawing` says.

    Args:
      compared: whether simpler graders judge every answer as well (`graders.judge`), where the task is mathematics.
      advance: is told how many problems were finished.
      wait: as in `episode.run`.
    """
    task, shown = task_of(config.data), 0

    def watch(done: int) -> None:
        nonlocal shown
        done = max(0, done - more)  # of the empty ones nothing is left from the start
        advance(done - shown)
        shown = done

    # On a mesh every device takes an equal share: the last is filled up with problems that are not answered.
    Q = len(problems)
    more = whole_batch(Q) - Q
    asked = [*problems, *[problems[0]] * more]
    expected = None if drawing.expected is None else np.pad(drawing.expected, (0, more))
    number = np.arange(Q) if drawing.number is None else drawing.number
    filled = drawing._replace(expected=expected, number=np.pad(number, (0, more), constant_values=-1))
    _, drawn = reasoner.sample(params, asked, key, config, tokenizer, filled, watch, wait)
    rollout = jax.tree.map(lambda x: x[:Q], HostRollout.of(wait(drawn)))
    found, grades, labelled = reasoner.read_answers(rollout, problems, task, tokenizer, pool)
    require_eos = config.reward.require_eos
    rows = completion_rows(problems, rollout, found, grades, tokenizer, require_eos=require_eos)
    if compared and not overrides(task, "grade"):
        golds = [problem.answer for problem in problems for _ in range(drawing.num_generations)]
        counted = (rollout.finished | (not require_eos)).reshape(-1)
        others = graders.judge([reasoning.answer for reasoning in found], golds, counted, pool)
        rows = [row | other for row, other in zip(rows, others, strict=True)]
    shape = rollout.length.shape
    return Answers(
        correct=counted_right(rollout, grades, require_eos=require_eos),
        gradable=grades.gradable.reshape(shape),
        length=rollout.length,
        finished=rollout.finished,
        needless=np.array([labels.needless_tokens(task, row) for row in labelled], np.int64).reshape(shape),
        first=rollout.tokens[:, 0],
        samples=[row | {"temperature": drawing.temperature} for row in rows],
    )


def evaluate(
    params: Params,
    problems: Sequence[Problem],
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    *,
    compared: bool = False,
    pool: Pool | None = None,
    advance: Callable[[int], None] = lambda problems: None,
    wait: Callable[[Rollout], Rollout] = jax.block_until_ready,
) -> dict[str, Answers]:
    """The sampled evaluation, and the greedy one if it is asked for: mode -> answers.

    Evaluations with the same key draw alike, so that two policies are compared under the same luck.

    Args:
      compared, advance, wait: as in `answer_all`.

    Raises:
      ValueError: more answers could not be graded than grading.max_failure_rate allows; fewer count as wrong.
    """
    modes = {"sampled": (config.evaluation.temperature, config.evaluation.num_samples)}
    if config.evaluation.greedy:
        modes["greedy"] = (0.0, 1)
    found: dict[str, Answers] = {}
    method = Method(top_p=config.evaluation.top_p)
    for mode, (temperature, k) in modes.items():
        expected = found["sampled"].length.mean(1) if found else None
        found[mode] = answer_all(
            params,
            problems,
            key,
            config,
            tokenizer,
            Drawing(k, temperature, method, expected),
            compared=compared,
            pool=pool,
            advance=advance,
            wait=wait,
        )
    lost = max(float(np.mean(~answers.gradable)) for answers in found.values())
    if lost > config.grading.max_failure_rate:
        raise ValueError(
            f"evaluation: {lost:.0%} of the answers could not be graded, expected at most "
            f"grading.max_failure_rate={config.grading.max_failure_rate}; check the answers of the data"
        )
    return found


def table(answers: Mapping[str, Answers], problems: Sequence[Problem], config: Config) -> dict:
    """What an evaluation found, as plain numbers.

    The sampled figures stand on top (accuracy, mean_tokens, ...), with `by_source` and the accuracy at token
    `budgets`; `greedy` holds the same of the greedy answers.
    """
    result: dict[str, Any] = {}
    sources = [problem.source or "all" for problem in problems]
    for mode, found in answers.items():
        budgets = config.evaluation.budgets or metrics.default_budgets(config.sampling.max_completion_length)
        arrays = (found.correct, found.length, found.finished)
        figures: dict[str, Any] = dict(metrics.summarize(*arrays))
        figures["ungradable"] = float(np.mean(~found.gradable))
        figures["needless_share"] = float(found.needless.sum() / max(1, found.length.sum()))
        figures["budget_area"] = efficiency.area_under_budgets(*arrays[:2], config.sampling.max_completion_length)
        figures["by_source"] = metrics.summarize_by(sources, *arrays)
        if (k := found.correct.shape[1]) > 1:
            given = [row["filtered_resps"][0] for row in found.samples]
            vote_Q = efficiency.majority([given[n : n + k] for n in range(0, len(given), k)], found.correct)
            figures[f"maj_at_{k}"] = float(vote_Q.mean())
            for source, part in figures["by_source"].items():
                part[f"maj_at_{k}"] = float(vote_Q[np.array(sources) == source].mean())
        curve = metrics.at_budgets(found.correct, found.length, budgets)
        figures["budgets"] = {str(b): e.value for b, e in curve.items()}
        if mode == "sampled":
            result |= figures
        else:
            result[mode] = figures
    return result
