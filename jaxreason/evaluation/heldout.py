"""The held-out evaluation of a run: done once a step, written down, and what came of the whole."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxreason.agents.explain import explain
from jaxreason.config import Config
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluation import efficiency, loop, metrics, selection
from jaxreason.grading.pool import Pool
from jaxreason.parallel import hosts
from jaxreason.run.folder import RunFolder
from jaxreason.run.progress import Display
from jaxreason.run.setup import Experiment
from jaxreason.types import Params, Rollout


def evaluate_once(
    params: Params,
    number: int,
    key: jax.Array,
    exp: Experiment,
    pool: Pool,
    folder: RunFolder,
    display: Display,
    *,
    helpers: Params | None = None,
    wait: Callable[[Rollout], Rollout] = jax.block_until_ready,
) -> dict:
    """Evaluate the policy after `number` steps, or find what was written when that was done before.

    Writes evaluation/step_NNNNNN.json, and every answer to the .jsonl beside it, those that a report shows with the
    chunks and scores that helpers give them. No figure depends on those.

    Args:
      helpers: parameters of `config.for_helpers`, the same for evaluations that are to be compared; None asks nobody.
      wait: as in `episode.run`.

    Returns:
      {"table": see `loop.table`, "answers": mode -> {"correct", "length"}, [Q k] lists}.
    """
    problems, config, tokenizer = exp.test, exp.config, exp.tokenizer
    asked = config.for_evaluation
    file = folder.path / "evaluation" / f"step_{number:06d}.json"
    if done := hosts.agree(json.loads(file.read_text()) if file.is_file() else None):
        return done
    modes = 1 + config.evaluation.greedy
    with display.bar(f"evaluate at {number}", modes * len(problems), every=0) as advance:
        answers = loop.evaluate(params, problems, key, asked, tokenizer, pool=pool, advance=advance, wait=wait)
    chunks = {}
    if helpers is not None:
        # No batch of answers was drawn with this key: theirs are numbered by their first problem.
        own_key = jax.random.fold_in(key, len(problems))
        shown = selection.evenly([problem.source for problem in problems], selection.SHOWN)
        with display.bar(f"split answers at {number}", modes * len(shown), every=0) as advance:
            chunks = chunks_of_shown(helpers, answers, problems, shown, own_key, config, tokenizer, wait, advance)
    found = {
        "table": loop.table(answers, problems, asked),
        "answers": {m: {"correct": a.correct.tolist(), "length": a.length.tolist()} for m, a in answers.items()},
    }
    rows = [
        {"mode": mode} | row | chunks.get((mode, n), {})
        for mode, a in answers.items()
        for n, row in enumerate(a.samples)
    ]
    folder.write_rows(f"evaluation/{file.stem}.jsonl", rows)
    folder.write_json(f"evaluation/{file.name}", found)
    return found


def chunks_of_shown(
    helpers: Params,
    answers: Mapping[str, loop.Answers],
    problems: Sequence[Problem],
    shown: Sequence[int],
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    wait: Callable[[Rollout], Rollout] = jax.block_until_ready,
    advance: Callable[[int], None] = lambda answers: None,
) -> dict[tuple[str, int], dict]:
    """Ask the helpers about the first answers, in every mode, to a few of the problems.

    As in training, an answer that was cut at the token limit is not asked about, nor one above that of training.

    Args:
      shown: which problems.
      wait, advance: as in `explain`.

    Returns:
      (mode, row of `Answers.samples`) -> `rows.chunk_fields`.
    """
    places = [(mode, q) for mode in answers for q in shown]
    ids, longest = [], config.sampling.max_completion_length
    for mode, q in places:
        some = answers[mode]
        whole = some.finished[q, 0] and some.length[q, 0] <= longest
        ids.append(some.first[q, : some.length[q, 0] - 1].tolist() if whole else [])
    found = explain(
        helpers,
        [problems[q] for _, q in places],
        ids,
        key,
        config,
        tokenizer,
        rows=config.data.prompts_per_step * config.sampling.num_generations,
        wait=wait,
        advance=advance,
    )
    return {(mode, q * answers[mode].length.shape[1]): fields for (mode, q), fields in zip(places, found, strict=True)}


def results(base: dict, trained: dict, config: Config) -> dict[str, Any]:
    """What results.json holds of a run's first and last evaluation."""
    return {
        "base": base["table"],
        "trained": trained["table"],
        "change": change(base, trained),
        "preset": config.reward.preset,
        "seed": config.run.seed,
        "problems": trained["table"]["problems"],
    }


def headline(table: dict) -> dict[str, float]:
    """The figures of an evaluation that are followed over a run: `eval/...`, greedy `eval/greedy/...`."""
    parts = {"eval": table, "eval/greedy": table.get("greedy", {})}
    return {
        f"{prefix}/{name}": part[name]
        for prefix, part in parts.items()
        for name in ("accuracy", "mean_tokens")
        if part.get(name) is not None
    }


def change(base: dict, trained: dict) -> dict:
    """Mode -> paired differences on the same problems, after minus before, each with its interval, and their AES, where
    the start has a right answer."""
    result = {}
    for mode, before in base["answers"].items():
        pair = [(np.array(x["correct"]), np.array(x["length"])) for x in (before, trained["answers"][mode])]
        found = metrics.compare(*pair) | {"aes": efficiency.score_of_change(*pair)}
        result[mode] = {name: dataclasses.asdict(e) for name, e in found.items() if e is not None}
    return result
