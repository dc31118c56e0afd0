"""Evaluation of the deployed role, the reasoner, on held-out problems: sample, read, grade, count.

Problems go through in batches of one fixed shape, so that a whole evaluation is one compiled program, sampled and
greedy alike. The last batch is filled up with its own first problem, and what that gives is thrown away.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreason.agents import episode
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
    *,
    temperature: float,
    num_samples: int,
    compared: bool = False,
    pool: Pool | None = None,
    advance: Callable[[int], None] = lambda problems: None,
    wait: Callable[[Rollout], Rollout] = jax.block_until_ready,
) -> Answers:
    """Answer every problem num_samples times.

    Args:
      temperature: 0 for greedy decoding.
      compared: whether simpler graders judge every answer as well (`graders.judge`), where the task is mathematics.
      advance: is told how many problems were finished.
      wait: as in `episode.run`.
    """
    k, task = num_samples, task_of(config.data)
    P = whole_batch(max(1, config.evaluation.batch_rows // k))
    parts: list[Answers] = []
    for start in range(0, len(problems), P):
        some = list(problems[start : start + P])
        filled = some + [some[0]] * (P - len(some))
        _, rollout = episode.reason(
            params,
            filled,
            jax.random.fold_in(key, start),
            config,
            tokenizer,
            num_generations=k,
            temperature=temperature,
            method=Method(top_p=config.evaluation.top_p),
        )
        rollout = jax.tree.map(lambda x, n=len(some): x[:n], HostRollout.of(wait(rollout)))
        found, grades, labelled = episode.read_answers(rollout, some, task, tokenizer, pool)
        require_eos = config.reward.require_eos
        rows = completion_rows(some, rollout, found, grades, tokenizer, require_eos=require_eos)
        if compared and not overrides(task, "grade"):
            golds = [problem.answer for problem in some for _ in range(k)]
            counted = (rollout.finished | (not require_eos)).reshape(-1)
            others = graders.judge([reasoning.answer for reasoning in found], golds, counted, pool)
            rows = [row | other for row, other in zip(rows, others, strict=True)]
        shape = rollout.length.shape
        parts.append(
            Answers(
                correct=counted_right(rollout, grades, require_eos=require_eos),
                gradable=grades.gradable.reshape(shape),
                length=rollout.length,
                finished=rollout.finished,
                needless=np.array([labels.needless_tokens(task, row) for row in labelled], np.int64).reshape(shape),
                first=rollout.tokens[:, 0],
                samples=[row | {"temperature": temperature} for row in rows],
            )
        )
        advance(len(some))
    arrays = [np.concatenate([getattr(part, name) for part in parts]) for name in Answers._fields[:-1]]
    return Answers(*arrays, samples=[row for part in parts for row in part.samples])


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
    found = {
        mode: answer_all(
            params,
            problems,
            key,
            config,
            tokenizer,
            temperature=temperature,
            num_samples=k,
            compared=compared,
            pool=pool,
            advance=advance,
            wait=wait,
        )
        for mode, (temperature, k) in modes.items()
    }
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
