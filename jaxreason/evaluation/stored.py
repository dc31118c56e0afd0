"""Open and evaluate a policy on disk: a run's, or a checkpoint in the form of the Hugging Face hub.

Reads beside a training that is still writing; what it found goes into files of its own.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import jax

from jaxreason.config import Config, given, load
from jaxreason.data import tokenizer
from jaxreason.data.problems import fingerprint
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.evaluation import graders, loop
from jaxreason.grading.pool import Pool
from jaxreason.parallel import hosts
from jaxreason.parallel.mesh import on_mesh, refuse_vocabulary
from jaxreason.policy import huggingface
from jaxreason.run import base_model, doors, setup
from jaxreason.run import state as run_state
from jaxreason.run.base_model import BaseModel
from jaxreason.run.best import best_step
from jaxreason.run.checkpoint import open_checkpoints
from jaxreason.run.files import write_json_atomic
from jaxreason.run.folder import BEST
from jaxreason.run.progress import Display
from jaxreason.run.provenance import launch_identity
from jaxreason.tasks.grading import refuse_without_workers
from jaxreason.tasks.opening import task_of
from jaxreason.types import Params

MAY_CHANGE = ("evaluation.", "grading.", "mesh.", "distributed.", "run.compilation_cache_dir", "data.max_prompt_length")
"""What of a run's configuration an evaluation may override; the rest made the policy what it is."""


RECIPE = "jaxreason.yaml"
"""In an exported checkpoint: the configuration of the run it came from."""
UNKNOWN = (
    "--data.max_prompt_length=1024",
    "--sampling.max_completion_length=2048",
    "--evaluation.temperature=0.6",
    "--evaluation.top_p=0.95",
)
"""Settings for a checkpoint that says nothing of how it was trained."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A policy on disk and how it is talked to."""

    path: Path
    config: Config  # with model.vocab_size filled in
    tokenizer: Tokenizer
    released: BaseModel | None  # None for a run's folder


def open_place(place: str, overrides: Sequence[str] = ()) -> Place:
    """Find a policy and its configuration; no weights are read yet.

    Args:
      place: a run's folder, a checkpoint's, or an id of the Hugging Face hub.
      overrides: of evaluation, grading and the like for a run; anything for a checkpoint. A checkpoint that was
        exported from a run has that run's settings, another the ones in UNKNOWN and its own chat template.

    Raises:
      ValueError: nothing of the kind there, or an override of what made a run's policy what it is.
    """
    path = Path(place).expanduser()
    if (path / "config.yaml").is_file():
        config = load_config(path, overrides)
        tok = tokenizer.load(config.tokenizer.path or path / "tokenizer")
        return Place(path, setup.with_vocabulary(config, tok), tok, None)
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(
            f"{place}: expected the folder of a run (with config.yaml) or of a checkpoint (with config.json), "
            "got neither"
        )
    asked = load(None, overrides)
    folder = huggingface.resolve(place, asked.model.revision or None)
    tok = tokenizer.load(folder)
    if (folder / RECIPE).is_file():
        config = load(folder / RECIPE, overrides)
    else:
        form = "chat" if tok.has_template else "plain"
        config = load(None, [f"--agents.prompts={form}", "--data.task=boxed_math", *UNKNOWN, *overrides])
    bare = dataclasses.replace(asked.model, path=place, dtype=config.model.dtype, param_dtype=config.model.param_dtype)
    config = dataclasses.replace(config, model=bare, tokenizer=asked.tokenizer)
    config, released = base_model.find(config, given(None, overrides))
    return Place(folder, setup.with_vocabulary(config, tok), tok, released)


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
                "mesh.*, distributed.*, data.max_prompt_length or run.compilation_cache_dir"
            )
    return doors.from_copies(load(run / "config.yaml", overrides), run)


def evaluate(
    place: Place,
    *,
    data: str | None = None,
    step: int | str | None = None,
    output: Path | None = None,
    display: Display | None = None,
) -> tuple[Path, dict]:
    """Evaluate a stored policy, draw for draw as its training did.

    Every answer is judged by simpler graders as well, so that readers see how much of the accuracy the grader decides.
    Of several processes each reads and grades its own rows, and process 0 writes.

    Args:
      data: JSONL file or prepared folder of problems, all of which are asked; None for the run's own held-out ones.
      step: training steps done, of a run; 0 is the policy before training, "best" the best evaluation's; None the
        newest there is.
      output: JSON file to write; None for one in the run's evaluation/, or for a checkpoint in ./evaluation. Every
        answer goes to the .jsonl beside it.

    Returns:
      The file written, and what is in it.

    Raises:
      ValueError: no such step, damaged checkpoints, bad problems, none with a prompt that fits, or an output that would
        take the place of the answers; or the processes differ in what they were given.
    """
    if output and (output.suffix == ".jsonl" or output.is_dir()):
        raise ValueError(f"--output: expected a .json file (the answers go to the .jsonl beside it), got {output}")
    display = display or Display()
    config, tok = place.config, place.tokenizer
    if place.released and not data and not (place.path / RECIPE).is_file():
        raise ValueError(f"{place.path}: expected --data FILE with problems, since a checkpoint brings none of its own")
    refuse_without_workers(task_of(config.data), config.grading.num_workers)
    asked = hosts.together(lambda: setup.read(data) if data else setup.held_out(config.data))
    hosts.refuse_difference(
        launch_identity(config)
        | {"step": step, "tokenizer": tok.fingerprint, "problems": fingerprint(asked)}
        | {"checkpoint": place.released and place.released.fingerprint}
    )
    problems = [problem for problem in asked if setup.fits(problem, config, tok)]
    if not problems:
        raise ValueError(f"{data or 'data.test'}: all {len(asked)} prompts exceed data.max_prompt_length; raise it")
    if len(problems) < len(asked):
        display.say(f"dropped {len(asked) - len(problems)} of {len(asked)} problems: prompts too long")
    modes = 1 + config.evaluation.greedy
    with on_mesh(config, display.warn), Pool(config.grading.num_workers, config.grading.timeout_s) as pool:
        refuse_vocabulary(config)
        params, number = open_policy(place, step, display)
        with display.bar(f"evaluate at {number}", modes * len(problems), every=0) as advance:
            answers = loop.evaluate(
                params,
                problems,
                jax.random.fold_in(jax.random.key(config.run.seed), run_state.EVALUATION),
                config,
                tok,
                compared=True,
                pool=pool,
                advance=advance,
            )
    stem = Path(data).stem if data else "heldout"
    if place.released:
        output = output or Path("evaluation") / f"{Path(place.released.name).name}_{stem}.json"
    output = output or place.path / "evaluation" / f"again_step_{number:06d}_{stem}.json"
    found = {
        "run": str(place.path),
        "step": number,
        "data": data or config.data.test,
        "dropped_problems": len(asked) - len(problems),
        "settings": dataclasses.asdict(config.evaluation),
        "table": loop.table(answers, problems, config),
        "graders": {mode: graders.disagreement(a.samples) for mode, a in answers.items()},
        "answers": {m: {"correct": a.correct.tolist(), "length": a.length.tolist()} for m, a in answers.items()},
    }
    if not hosts.first():
        return output, found
    write_json_atomic(output, found)
    rows = [{"mode": mode} | row for mode, a in answers.items() for row in a.samples]
    output.with_suffix(".jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return output, found


def open_policy(place: Place, step: int | str | None = None, display: Display | None = None) -> tuple[Params, int]:
    """Parameters of a policy on disk and the step they are of, 0 for a checkpoint.

    Raises:
      ValueError: no such step, or damaged files.
    """
    if place.released is None:
        return load_policy(place.path, place.config, step)
    if step is not None:
        raise ValueError(f"--step: expected with the folder of a run only, got {step} for {place.path}; leave it out")
    return base_model.load(place.released, place.config.model, display or Display()), 0


def load_policy(run: Path, config: Config, step: int | str | None = None) -> tuple[Params, int]:
    """Parameters stored in a run folder and the step they are of.

    Args:
      config: with model.vocab_size filled in.
      step: None for the newest checkpoint, or the start where there is none yet; 0 for the start; "best" for the best
        evaluation's.

    Raises:
      ValueError: nothing is stored, or not that step.
    """
    if step == BEST:
        step = hosts.agree(best_step(run))
        if step is None:
            raise ValueError(f"{run}: no evaluation yet, so none is best; give a step, or leave --step out")
        if step and (run / BEST).is_dir():
            with open_checkpoints(run / BEST, None) as bests:
                if step in bests.steps():
                    return bests.restore(step, run_state.shape_of_start(config))[0], step
    assert not isinstance(step, str)  # the command line takes no other word
    if (run / "checkpoints").is_dir() and step != 0:
        with open_checkpoints(run / "checkpoints", None) as checkpoints:
            seen = hosts.gather(checkpoints.latest_step())
            if step is None and len(set(seen)) > 1:
                raise ValueError(
                    f"{run}: expected one newest checkpoint, but the processes see {', '.join(map(str, seen))}; give "
                    "--step, or wait until what is written there is done"
                )
            if step is not None or seen[0] is not None:
                found, _, number = checkpoints.restore(step, run_state.shape_of_state(config))
                return found.train.params, number
    base = base_model.recorded(run)
    if base and not config.warmup.wanted:
        if base_model.fingerprint(base.folder) != base.fingerprint:
            raise ValueError(f"{base.folder}: expected the checkpoint that {run} began from, got another; restore it")
        return base_model.load(base, config.model, Display(quiet=True)), 0
    with open_checkpoints(run / "start", None) as starts:
        return starts.restore(None, run_state.shape_of_start(config))[0], 0
