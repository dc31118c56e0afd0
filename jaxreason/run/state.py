"""The changing half of a run: how it begins, is saved, is found again, and is kept when something breaks."""

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.agents.episode import Episode
from jaxreason.config import BudgetConfig, Config
from jaxreason.data.problems import fingerprint
from jaxreason.grpo import optimizer
from jaxreason.parallel import hosts
from jaxreason.parallel.rules import abstract, place
from jaxreason.policy import api, lora
from jaxreason.rewards import budget
from jaxreason.rewards.budget import BudgetState
from jaxreason.rewards.importance import RatioState, initial_ratio
from jaxreason.rewards.methods import named, teacher_of
from jaxreason.run import ahead, files, remember
from jaxreason.run import folder as run_folder
from jaxreason.run.best import best_step
from jaxreason.run.checkpoint import Checkpoints, size
from jaxreason.run.folder import START, RunFolder
from jaxreason.run.progress import Display
from jaxreason.run.setup import Experiment
from jaxreason.types import Params, Rollout, TrainState, pytree


@pytree
class RunState:
    """Everything that changes during a run and stands in a checkpoint."""

    train: TrainState
    ratio: RatioState
    budget: BudgetState | None = None  # only where a target is set
    helper: TrainState | None = None  # only where the helpers are a policy of their own that is trained
    memory: Any = None  # see `run.remember`, plain JSON; it stands beside the arrays in a checkpoint
    position: int | None = None  # rows of the data seen, where dynamic sampling may take more than a batch a step
    lift: jax.Array | None = None  # float32 [], of a new chunk, where calibrated; nan before the first step
    ahead: Rollout | None = None  # with run.staleness: the next step's first completions; all empty where none is begun
    teacher: Params | None = None  # what was trained when the teacher was the policy last, where it is renewed


def new_state(params: Params, config: Config, helper_params: Params | None = None) -> RunState:
    """The state before the first step.

    Args:
      params: of the policy.
      helper_params: of the helpers where `trains_helper`.
    """
    transformation, _ = optimizer.make_optimizer(config.optimizer, 1)

    def train_state(params: Params) -> TrainState:
        params = lora.initial(params, config.lora, config.run.seed)
        return TrainState(step=jnp.int32(0), params=params, opt_state=transformation.init(params))

    train = train_state(params)
    # The budget's numbers come once the starting policy has been evaluated, see `begin_budget`.
    return RunState(
        train=train,
        ratio=initial_ratio(),
        budget=budget.initial(1.0, 1.0) if config.budget.wanted else None,
        helper=None if helper_params is None else train_state(helper_params),
        lift=jnp.float32(jnp.nan) if calibrates(config) else None,
        ahead=jax.tree.map(jnp.asarray, ahead.nothing(config)),
        teacher=train.params if renews_teacher(config) else None,
    )


def without_ahead(state: RunState, config: Config) -> RunState:
    """The state with nothing begun of the next step: whoever was to draw it is gone, or there is no such step."""
    return dataclasses.replace(state, ahead=place(ahead.nothing(config)))


def after_step(
    state: RunState,
    train: TrainState,
    helper: Sequence[TrainState],
    ratio: RatioState,
    memory: dict[str, Any] | None,
    played: Episode,
    row: dict,
    number: int,
    config: Config,
) -> RunState:
    """The state after a step's updates. What moves beside the policies stays where it was if the loss was no number.

    Args:
      helper: the helpers' own policy, where it is trained; else empty.
      memory: what is remembered of completions, after the step.
      played: the step's episode.
      row: the step's metrics.
    """
    after = dataclasses.replace(
        state,
        train=train,
        helper=helper[0] if helper else None,
        lift=state.lift if played.lift is None else place(played.lift.logit),
    )
    if row["not_finite"]:
        return after
    if (told := teacher_of(config)) and told.refresh and (number + 1) % told.refresh == 0:
        after = dataclasses.replace(after, teacher=jax.tree.map(jnp.copy, train.params))  # the next update takes them
    tokens = row["reason/completions/mean_length"]
    moved = budget.after_step(state.budget, tokens, config, number)
    position = None if played.sampled is None else position_of(state, number, config) + played.rows_taken
    after = dataclasses.replace(after, ratio=ratio, budget=moved, memory=memory, position=position)
    if played.following is None:
        return without_ahead(after, config)
    return dataclasses.replace(after, ahead=played.following)


def position_of(state: RunState, number: int, config: Config) -> int:
    """The row of the data at which step `number` begins."""
    return number * config.data.prompts_per_step if state.position is None else state.position


def known_lift(state: RunState) -> float | None:
    """The lift of a new chunk; None where there is none, or none yet."""
    lift = None if state.lift is None else float(state.lift)
    return None if lift is None or np.isnan(lift) else lift


def trains_helper(config: Config) -> bool:
    """Whether the helpers are a policy of their own that is updated."""
    return config.agents.separate and named(config.reward.preset).helpers == "train"


def calibrates(config: Config) -> bool:
    """Whether the odds of a new chunk are solved for on the first step, and kept."""
    return config.agents.calibrated and named(config.reward.preset).helpers != "none"


def keeps_start(config: Config) -> bool:
    """Whether a run holds the policy as it was at the start beside the one it trains."""
    method = named(config.reward.preset)
    helped = method.helpers != "none" and not config.agents.separate
    teaches = teacher_of(config) is not None and not renews_teacher(config)
    return helped or method.measured or teaches or any(config.grpo.beta) or config.lora.wanted


def renews_teacher(config: Config) -> bool:
    """Whether a policy of an earlier step than the last stands in the state, which the method reads."""
    told = teacher_of(config)
    return told is not None and told.refresh > 0


def shape_of_start(config: Config) -> Params:
    """Shapes of the parameters, with where they stand."""
    return abstract(api.shapes(config.model))


def shape_of_trained(config: Config) -> Params:
    """Shapes of what is trained of the policy, with where they stand."""
    start = shape_of_start(config)
    return abstract(lora.shapes(config.model, config.lora)) if config.lora.wanted else start


def untrained(begin: Callable[[], Params], config: Config) -> Params:
    """What is trained, as it was before step 0: the policy that `begin` makes, or new adapters, without making it."""
    if not config.lora.wanted:
        return begin()
    shapes, start = shape_of_trained(config), shape_of_start(config)
    return jax.jit(lambda: lora.initial(start, config.lora, config.run.seed), out_shardings=placement(shapes))()


def shape_of_policy(config: Config) -> Params:
    """Shapes of the policy that samples during the run."""
    return lora.policy(shape_of_trained(config), shape_of_start(config), config.lora)


def shape_of_state(config: Config) -> RunState:
    """Shapes of everything in a checkpoint, with where it stands: on the mesh of this process, whoever saved it."""
    helper = shape_of_start(config.for_helpers) if trains_helper(config) else None
    return abstract(
        jax.eval_shape(lambda *params: new_state(params[0], config, params[1]), shape_of_start(config), helper)
    )


def placement(shapes):
    """The shardings of such shapes."""
    return jax.tree.map(lambda x: x.sharding, shapes)


def begin_budget(state: RunState, base: dict, config: BudgetConfig, warn: Callable[[str], None]) -> RunState:
    """The state of a new run with its target in tokens, from the starting policy's sampled evaluation.

    Raises:
      ValueError: a target of less than a token.
    """
    if state.budget is None:
        return state
    tokens = base["mean_tokens"]
    target = budget.target_of(config, tokens)
    if target >= tokens:
        warn(
            f"budget.target_tokens: {target:.1f} is not below the {tokens:.1f} tokens of the starting policy; nothing "
            "is to be saved, and alpha stays at 0 unless answers grow longer"
        )
    return dataclasses.replace(state, budget=place(budget.initial(target, tokens)))


@contextlib.contextmanager
def open_folder(config: Config) -> Iterator[RunFolder]:
    """The run's folder, which process 0 writes and all processes see.

    Raises:
      ValueError: on every process, what `run_folder.create_or_open` says on the first, or that a process sees another
        folder.
    """
    path, mark = Path(config.run.output_dir).expanduser(), ".seen"
    folder, refusal = None, None
    if hosts.first():
        try:
            folder = run_folder.create_or_open(path, config)
            (path / mark).write_text(secrets.token_hex(8))
        except ValueError as error:
            refusal = str(error)
    if refusal := hosts.agree(refusal):
        raise ValueError(refusal)
    seen = hosts.gather((path / mark).read_text() if (path / mark).is_file() else "nothing")
    with folder or run_folder.create_or_open(path, config, writer=False) as opened:
        for process, text in enumerate(seen):
            if text != seen[0]:
                raise ValueError(
                    f"run.output_dir: process {process} does not see the folder {path} of process 0; expected one that "
                    "all hosts share (NFS, Filestore, a mounted bucket)"
                )
        yield opened


def open_state(
    exp: Experiment, start: Params, helper_start: Params | None, checkpoints: Checkpoints, folder: RunFolder
) -> tuple[RunState, int, dict]:
    """State, steps done and the monitor's memory: from the newest whole checkpoint, or new."""
    config = exp.config
    shapes = shape_of_state(config)
    if checkpoints.latest_step() is None:
        folder.truncate_after(0)
        # A copy: the update donates what it is given, and `start` must stay.
        copy = jax.jit(lambda p, h: jax.tree.map(jnp.copy, new_state(p, config, h)), out_shardings=placement(shapes))
        return copy(start, helper_start if trains_helper(config) else None), 0, {}
    state, meta, number = checkpoints.restore(None, shapes)
    for name, now in identity(exp).items():
        if meta[name] != now:
            raise ValueError(
                f"{folder.path}: checkpoint {number} belongs to another {name} ({meta[name]}, now {now}); "
                "restore the files it was made with, or set another run.output_dir"
            )
    folder.truncate_after(number)
    lift = state.lift
    if lift is None and calibrates(config):  # a checkpoint from before there was one
        lift = place(jnp.float32(jnp.nan))
    state = dataclasses.replace(state, memory=remember.held(meta), position=meta.get("position"), lift=lift)
    return state, number, meta["monitor"]


def identity(exp: Experiment) -> dict[str, str]:
    """What a resumed run, and every process of a run, must agree on; of adapters also what they belong to."""
    found = {
        "data": exp.stream.fingerprint,
        "held-out data": fingerprint(exp.test),
        "tokenizer": exp.tokenizer.fingerprint,
    }
    if exp.config.lora.wanted:
        known = exp.base is not None and not exp.config.warmup.wanted
        found["base"] = f"{exp.base.name} {exp.base.fingerprint}" if exp.base and known else f"this run's {START}"
    return found


def save(checkpoints: Checkpoints, number: int, state: RunState, memory: dict, exp: Experiment) -> None:
    """Save the state after `number` steps, with what a resumed run must agree on."""
    checkpoints.save(number, *_parts(state, memory, exp))


def _parts(state: RunState, memory: dict, exp: Experiment) -> tuple[RunState, dict]:
    """A checkpoint's arrays, and the JSON beside them."""
    beside: dict[str, Any] = {"monitor": memory} | identity(exp)
    if state.memory is not None:
        beside |= state.memory
    if state.position is not None:
        beside["position"] = state.position
    return dataclasses.replace(state, memory=None, position=None), beside


def try_save(
    checkpoints: Checkpoints,
    number: int,
    state: RunState,
    memory: dict,
    exp: Experiment,
    folder: RunFolder,
    display: Display,
) -> None:
    """`save` in mid-run. A disk that is full for a while is warned of and does not end the run.

    Not before the rows of these steps are on disk: a run resumed from here would never write them. Of several processes
    one cannot try again without the others: there a save that fails ends the run.
    """
    if trouble := hosts.agree(folder.trouble):
        display.warn(f"checkpoint {number} was not written, since the metrics before it are not: {trouble}")
    elif jax.process_count() > 1:
        save(checkpoints, number, state, memory, exp)
    elif problem := checkpoints.try_save(number, *_parts(state, memory, exp)):
        display.warn(problem)


def save_last(
    checkpoints: Checkpoints, number: int, state: RunState, memory: dict, exp: Experiment, folder: RunFolder
) -> None:
    """See everything up to `number` steps to the disk, also what failed before.

    Raises:
      Unwritable: it cannot be written; the checkpoint before it stands.
    """
    folder.settle()
    with contextlib.suppress(files.Unwritable):
        checkpoints.wait()
    if checkpoints.latest_step() != number:
        save(checkpoints, number, state, memory, exp)
    checkpoints.wait()


def keep_best(bests: Checkpoints, number: int, params: Params, folder: RunFolder, display: Display) -> None:
    """Save what was trained of the policy just evaluated where no evaluation before it was better; a full disk is only
    warned of.

    Waits for the disk, so that no checkpoint of a later step can be there without it. The start is kept anyhow.
    """
    if not number or not hosts.agree(best_step(folder.path) == number and number not in bests.steps()):
        return
    try:
        bests.save(number, params, {})
        bests.wait()
    except files.Unwritable as error:
        display.warn(f"the best policy so far is not kept: {error}")


def require_space(exp: Experiment, checkpoints: Checkpoints) -> None:
    """Refuse a disk that this run's checkpoints will not fit on, before anything long begins.

    Room for save_total_limit, one that is being written beside them, and one for the policies kept apart (start, best).
    """
    state = shape_of_state(exp.config)
    keep = exp.config.run.save_total_limit
    missing = keep + 2 - min(keep, len(checkpoints.steps()))
    if "://" in str(checkpoints.folder):
        return
    needed = missing * size(state)
    if exp.config.lora.wanted:  # the start is larger than what is trained, and stored unless a checkpoint has it
        needed += size(shape_of_start(exp.config)) if exp.base is None or exp.config.warmup.wanted else 0
    if refusal := hosts.agree(files.lacks_space(Path(checkpoints.folder), needed, f"{keep + 2} checkpoints")):
        raise ValueError(refusal)


def refuse_broken(
    row: dict,
    number: int,
    state: RunState,
    batches,
    checkpoints: Checkpoints,
    memory: dict,
    folder: RunFolder,
    exp: Experiment,
) -> None:
    """Stop on a loss that is no number, or a grader that breaks; what is good is saved first.

    Of a loss that is no number the update kept the last good parameters; they and the batch are saved.
    """
    config = exp.config
    if row.get("reason/ungradable") and row["reason/ungradable"] > config.grading.max_failure_rate:
        save(checkpoints, number, state, memory, exp)
        checkpoints.wait()
        raise ValueError(
            f"step {number}: {row['reason/ungradable']:.0%} of the answers could not be graded; see grader_status in "
            f"{folder.path}/samples, or raise grading.max_failure_rate={config.grading.max_failure_rate}"
        )
    if not row["not_finite"]:
        return
    file = folder.path / f"bad_batch_step_{number:06d}.npz"
    arrays = {f"{i}/{k}": v for i, b in enumerate(batches) for k, v in vars(b).items() if v is not None}
    if hosts.first():
        np.savez(file, **jax.device_get(arrays))
    if checkpoints.latest_step() != number - 1:
        save(checkpoints, number - 1, state, memory, exp)
    checkpoints.wait()
    raise FloatingPointError(
        f"step {number}: the loss is not a number; the last good state is in checkpoint {number - 1}, "
        f"the batch in {file}; lower optimizer.learning_rate={config.optimizer.learning_rate} in another run.output_dir"
    )
