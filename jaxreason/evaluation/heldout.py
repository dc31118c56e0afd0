"""The held-out evaluation of a run: done once a step, written down, and what came of the whole."""

import dataclasses
import json
from collections.abc import Callable, Sequence

import jax
import numpy as np

from jaxreason.config import Config
from jaxreason.data.problems import Problem
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluation import loop, metrics
from jaxreason.grading.pool import Pool
from jaxreason.parallel import hosts
from jaxreason.progress import Display
from jaxreason.runfolder import RunFolder
from jaxreason.types import Params, Rollout


def evaluate_once(
    params: Params,
    number: int,
    problems: Sequence[Problem],
    key: jax.Array,
    config: Config,
    tokenizer: Tokenizer,
    pool: Pool,
    folder: RunFolder,
    display: Display,
    *,
    labelled: bool,
    wait: Callable[[Rollout], Rollout] = jax.block_until_ready,
) -> dict:
    """Evaluate the policy after `number` steps, or find what was written when that was done before.

    Writes evaluation/step_NNNNNN.json, and every answer to the .jsonl beside it. `wait` is as in `episode.run`.

    Returns:
      {"table": see `loop.table`, "answers": mode -> {"correct", "length"}, [Q k] lists}.
    """
    file = folder.path / "evaluation" / f"step_{number:06d}.json"
    if done := hosts.agree(json.loads(file.read_text()) if file.is_file() else None):
        return done
    modes = 1 + config.evaluation.greedy
    with display.bar(f"evaluate at {number}", modes * len(problems), every=0) as advance:
        answers = loop.evaluate(
            params, problems, key, config, tokenizer, labelled=labelled, pool=pool, advance=advance, wait=wait
        )
    found = {
        "table": loop.table(answers, problems, config),
        "answers": {m: {"correct": a.correct.tolist(), "length": a.length.tolist()} for m, a in answers.items()},
    }
    rows = [{"mode": mode} | row for mode, a in answers.items() for row in a.samples]
    folder.write_rows(f"evaluation/{file.stem}.jsonl", rows)
    folder.write_json(f"evaluation/{file.name}", found)
    return found


def change(base: dict, trained: dict) -> dict:
    """Mode -> paired differences on the same problems, after minus before, each with its interval."""
    result = {}
    for mode, before in base["answers"].items():
        pair = [(np.array(x["correct"]), np.array(x["length"])) for x in (before, trained["answers"][mode])]
        result[mode] = {name: dataclasses.asdict(e) for name, e in metrics.compare(*pair).items()}
    return result
