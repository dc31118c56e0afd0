"""Open a policy on disk: a run's, beside a training that still writes, or a checkpoint's of the Hugging Face hub."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from jaxreason.config import Config, given, load
from jaxreason.data import tokenizer
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.parallel import hosts
from jaxreason.policy import huggingface, lora
from jaxreason.run import base_model, doors, setup
from jaxreason.run import state as run_state
from jaxreason.run.base_model import BaseModel
from jaxreason.run.best import best_step
from jaxreason.run.checkpoint import open_checkpoints
from jaxreason.run.folder import BEST
from jaxreason.run.progress import Display
from jaxreason.types import Params

MAY_CHANGE = ("evaluation.", "grading.", "mesh.", "distributed.", "run.compilation_cache_dir")
MAY_CHANGE += ("data.max_prompt_length", "sampling.slots", "sampling.pages")
"""What of a run's configuration an evaluation may override; the rest made the policy what it is."""

RECIPE = "jaxreason.yaml"
"""In an exported checkpoint: the configuration of the run it came from."""
UNKNOWN = (
    "--data.task=math",
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
        exported from a run has that run's settings, another the ones in UNKNOWN, its own chat template and the type its
        tensors are stored in.

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
        kind = huggingface.stored_type(folder)
        types = [f"--model.{name}={kind}" for name in ("dtype", "param_dtype") if kind]
        config = load(None, [f"--agents.prompts={form}", *UNKNOWN, *types, *overrides])
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
                f"{name}: the run was trained with its own; expected overrides of evaluation.* (its token limit "
                "is --evaluation.max_completion_length), grading.*, mesh.*, distributed.*, data.max_prompt_length or "
                "run.compilation_cache_dir"
            )
    return doors.from_copies(load(run / "config.yaml", overrides), run)


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
    """Parameters stored in a run folder and the step they are of; of a run of adapters with what they belong to.

    Args:
      config: with model.vocab_size filled in.
      step: None for the newest checkpoint, or the start where there is none yet; 0 for the start; "best" for the best
        evaluation's.

    Raises:
      ValueError: nothing is stored, or not that step.
    """
    trained, number = _trained(run, config, step)
    if trained is None:
        return _start(run, config), 0
    return lora.policy(trained, _start(run, config) if config.lora.wanted else None, config.lora), number


def load_adapters(run: Path, config: Config, step: int | str | None = None) -> tuple[Params, int]:
    """The adapters alone, and the step they are of; arguments as for `load_policy`.

    Raises:
      ValueError: as there; or the run trains none, or has not yet.
    """
    if not config.lora.wanted:
        raise ValueError(f"--adapter: expected a run with lora.r above 0, got {run}, which trained the whole policy")
    trained, number = _trained(run, config, step)
    if trained is None:
        raise ValueError(f"--adapter: expected a step after the start, which has no adapters, got step 0 of {run}")
    return trained, number


def _trained(run: Path, config: Config, step: int | str | None) -> tuple[Params | None, int]:
    """What was trained, as it is stored, and after how many steps; None for the start."""
    if step == BEST:
        step = hosts.agree(best_step(run))
        if step is None:
            raise ValueError(f"{run}: no evaluation yet, so none is best; give a step, or leave --step out")
        if step and (run / BEST).is_dir():
            with open_checkpoints(run / BEST, None) as bests:
                if step in bests.steps():
                    return bests.restore(step, run_state.shape_of_trained(config))[0], step
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
                # Completions may stand in it, of the run's lengths and not of an evaluation's.
                config = dataclasses.replace(config, sampling=load_config(run).sampling)
                found, _, number = checkpoints.restore(step, run_state.shape_of_state(config))
                return found.train.params, number
    return None, 0


def _start(run: Path, config: Config) -> Params:
    """The policy before step 0."""
    base = base_model.recorded(run)
    if base and not config.warmup.wanted:
        if base_model.fingerprint(base.folder) != base.fingerprint:
            raise ValueError(f"{base.folder}: expected the checkpoint that {run} began from, got another; restore it")
        return base_model.load(base, config.model, Display(quiet=True))
    with open_checkpoints(run / "start", None) as starts:
        return starts.restore(None, run_state.shape_of_start(config))[0]
