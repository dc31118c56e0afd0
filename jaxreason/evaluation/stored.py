"""Evaluate the policy that a run folder holds, on its own held-out problems or on others.

Reads beside a training that is still writing; what it found goes into files of its own.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import jax

from jaxreason import experiment, runstate, train
from jaxreason.checkpoint import open_checkpoints
from jaxreason.config import Config, load
from jaxreason.data import tokenizer
from jaxreason.evaluation import loop
from jaxreason.grading.pool import Pool
from jaxreason.parallel.mesh import on_mesh, refuse_vocabulary
from jaxreason.progress import Display
from jaxreason.runfolder import write_json_atomic
from jaxreason.types import Params

MAY_CHANGE = ("evaluation.", "grading.", "mesh.", "run.compilation_cache_dir", "data.max_prompt_length")
"""What of a run's configuration an evaluation may override; the rest made the policy what it is."""


def load_config(run: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a run folder, with the overrides that make sense afterwards.

    Raises:
      ValueError: no run folder, or an override of something that only training uses.
    """
    if not (run / "config.yaml").is_file():
        raise ValueError(
            f"{run}: expected the folder of a run, with a config.yaml, got none; was anything trained there?"
        )
    load(None, overrides)  # a misspelt key gets its own answer first
    for override in overrides:
        name = override.lstrip("-").split("=")[0]
        if not name.startswith(MAY_CHANGE):
            raise ValueError(
                f"{name}: the run was trained with its own; expected overrides of evaluation.*, grading.*, "
                "mesh.*, data.max_prompt_length or run.compilation_cache_dir"
            )
    return load(run / "config.yaml", overrides)


def evaluate_run(
    run: Path,
    config: Config,
    *,
    data: str | None = None,
    step: int | None = None,
    output: Path | None = None,
    display: Display | None = None,
) -> tuple[Path, dict]:
    """Evaluate a stored policy, draw for draw as its training did.

    Args:
      run: the folder.
      config: as `load_config` gives it.
      data: JSONL file or prepared folder of problems, all of which are asked; None for the run's own held-out ones.
      step: training steps done; 0 is the policy before training; None the newest there is.
      output: JSON file to write; None for one in the run's evaluation/. Every answer goes to the .jsonl beside it.

    Returns:
      The file written, and what is in it.

    Raises:
      ValueError: no such step, damaged checkpoints, bad problems, none with a prompt that fits, or an output that would
        take the place of the answers.
    """
    if output and (output.suffix == ".jsonl" or output.is_dir()):
        raise ValueError(f"--output: expected a .json file (the answers go to the .jsonl beside it), got {output}")
    display = display or Display()
    tok = tokenizer.load(config.tokenizer.path or run / "tokenizer")
    config = experiment.with_vocabulary(config, tok)
    asked = experiment.read(data) if data else experiment.held_out(config.data)
    problems = [problem for problem in asked if experiment.fits(problem, config, tok)]
    if not problems:
        raise ValueError(f"{data or 'data.test'}: all {len(asked)} prompts exceed data.max_prompt_length; raise it")
    if len(problems) < len(asked):
        display.say(f"dropped {len(asked) - len(problems)} of {len(asked)} problems: prompts too long")
    modes = 1 + config.evaluation.greedy
    with on_mesh(config, display.warn), Pool(config.grading.num_workers, config.grading.timeout_s) as pool:
        refuse_vocabulary(config)
        params, number = load_policy(run, config, step)
        with display.bar(f"evaluate at {number}", modes * len(problems), every=0) as advance:
            answers = loop.evaluate(
                params,
                problems,
                jax.random.fold_in(jax.random.key(config.run.seed), train.EVALUATION),
                config,
                tok,
                labelled=not data and config.data.test == experiment.BUILTIN,
                pool=pool,
                advance=advance,
            )
    output = output or run / "evaluation" / f"again_step_{number:06d}_{Path(data).stem if data else 'heldout'}.json"
    found = {
        "run": str(run),
        "step": number,
        "data": data or config.data.test,
        "dropped_problems": len(asked) - len(problems),
        "settings": dataclasses.asdict(config.evaluation),
        "table": loop.table(answers, problems, config),
        "answers": {m: {"correct": a.correct.tolist(), "length": a.length.tolist()} for m, a in answers.items()},
    }
    write_json_atomic(output, found)
    rows = [{"mode": mode} | row for mode, a in answers.items() for row in a.samples]
    output.with_suffix(".jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return output, found


def load_policy(run: Path, config: Config, step: int | None = None) -> tuple[Params, int]:
    """Parameters stored in a run folder and the step they are of.

    Args:
      config: with model.vocab_size filled in.
      step: None for the newest checkpoint, or the start where there is none yet; 0 for the start.

    Raises:
      ValueError: nothing is stored, or not that step.
    """
    if (run / "checkpoints").is_dir() and step != 0:
        with open_checkpoints(run / "checkpoints", None) as checkpoints:
            if step is not None or checkpoints.latest_step() is not None:
                found, _, number = checkpoints.restore(step, runstate.shape_of_state(config))
                return found.train.params, number
    with open_checkpoints(run / "start", None) as starts:
        return starts.restore(None, runstate.shape_of_start(config))[0], 0
