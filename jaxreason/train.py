"""Training: problems -> three roles -> reward -> advantage -> update, once a step, and what surrounds it.

Departures from the papers (SCMA, arXiv:2601.21919; The Art of Efficient Reasoning, arXiv:2602.20945), and choices
where they are silent; each is a configuration field:

 1. The default preset `guarded` pays the helpers for form and for agreement with the scorer as it was at the start,
    not with the shared reward: that one is raised by calling everything important. `scma` is the paper's.
 2. Helpers decode under a constraint by default, so a split is lossless by construction (agents.decoding=free: the
    paper's free text).
 3. y is the text before the answer line: the answer itself is never penalised.
 4. An answer cut at the token limit counts as wrong, and pays for all of |y| (reward.require_eos).
 5. Where a helper's answer is invalid, the reasoner pays the share of |y| that valid ones pay on average.
 6. Groups of equal reward have advantage exactly 0 and, without KL, are left out of the update.
 7. Role weights are shares: the loss is their weighted mean, each role averaged by itself.
"""

import dataclasses
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason import experiment, learning, monitor, runfolder, stepmetrics, warmup
from jaxreason.agents import episode, frozen
from jaxreason.agents.constraints import tag_tokens
from jaxreason.agents.roles import token_limits
from jaxreason.checkpoint import Checkpoints, open_checkpoints
from jaxreason.config import ROLES, Config
from jaxreason.evaluation import loop, metrics
from jaxreason.grading.pool import Pool
from jaxreason.grpo import batch, optimizer, reference, update
from jaxreason.interrupt import Interrupt
from jaxreason.policy import api
from jaxreason.progress import Display
from jaxreason.rewards.importance import RatioState, initial_ratio
from jaxreason.rewards.presets import PRESETS
from jaxreason.runfolder import RunFolder
from jaxreason.sampling import methods
from jaxreason.types import Params, TrainState, pytree

EVALUATION, STEP = 1, 2
"""What a key is for; folded in first, so that no two uses share randomness."""


@pytree
class RunState:
    """Everything that changes during a run and stands in a checkpoint."""

    train: TrainState
    ratio: RatioState


class Stopped(Exception):
    """The run was interrupted and saved; `exit_code` is for the shell."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


@dataclasses.dataclass(frozen=True)
class Tools:
    """The compiled functions and fixed numbers of a run."""

    exp: experiment.Experiment
    update: object
    reference: object
    expect: object
    schedule: object
    packing: learning.Packing
    frozen_micro: int
    limits: dict[str, int]
    pool: Pool


def make_tools(exp: experiment.Experiment, pool: Pool) -> Tools:
    """Build what a step needs; nothing is compiled before it is used."""
    config, preset = exp.config, PRESETS[exp.config.reward.preset]
    method = methods.Method(config.sampling.top_p, config.sampling.top_k, config.sampling.min_p)
    logp_fn = api.logp_fn(config.model, config.sampling.temperature, methods.transform(method))
    steps = config.run.max_steps * config.grpo.num_mini_batches
    transformation, schedule = optimizer.make_optimizer(config.optimizer, steps)
    rows = config.data.prompts_per_step * config.sampling.num_generations
    lengths = episode.row_limits(config, exp.tokenizer)
    shape = {"row_length": config.grpo.row_length, "micro_batch_rows": config.grpo.micro_batch_rows}
    learners = [(rows, lengths[role]) for role in preset.terms]
    constrained = config.agents.decoding == "constrained" and preset.helpers == "train"
    return Tools(
        exp=exp,
        update=update.make_update(logp_fn, transformation, config.grpo),
        reference=reference.make_reference(lambda *args: logp_fn(*args)[0]),
        expect=reference.make_reference(lambda *args: api.expected_candidate(*args, config=config.model)),
        schedule=schedule,
        packing=learning.Packing(
            max_micro=batch.max_micro_batches(learners, **shape),
            num_candidates=frozen.DIGITS if constrained else 0,
            with_ref=any(config.grpo.beta),
        ),
        frozen_micro=batch.max_micro_batches([(rows, lengths["score"])], **shape),
        limits=token_limits(config, tag_tokens=tag_tokens(exp.tokenizer)),
        pool=pool,
    )


def step(state: RunState, start: Params | None, number: int, tools: Tools) -> tuple[RunState, dict, list[dict], list]:
    """One training step: the picture in the design, top to bottom.

    Args:
      state: donated.
      start: the policy as it was before step 0; None where nothing needs it.
      number: of the step, from 0.

    Returns:
      New state, the row of metrics, sample rows, and the batches the update saw (kept for a post-mortem).
    """
    exp, config = tools.exp, tools.exp.config
    preset = PRESETS[config.reward.preset]
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.run.seed), STEP), number)
    clock = episode.Clock()

    problems = exp.stream.batch(number)
    helper_params = {"none": None, "train": state.train.params, "frozen": start}[preset.helpers]
    played = episode.run(
        state.train.params, helper_params, problems, jax.random.fold_in(key, 0), config, exp.tokenizer, tools.pool
    )
    clock.lap("episode")

    frozen_PGK = None
    if preset.helpers == "train":
        frozen_PGK = frozen.expected_scores(
            start, played, tools.expect, config, exp.tokenizer, max_micro=tools.frozen_micro
        )
    clock.lap("frozen_scorer")

    alpha = config.reward.alpha * min(1.0, (number + 1) / max(1, config.reward.alpha_warmup_steps))
    rewards, advantages, ratio = learning.signal(
        learning.outcome(played, frozen_PGK),
        jnp.float32(alpha),
        state.ratio,
        jax.random.fold_in(key, 1),
        reward=config.reward,
        grpo=config.grpo,
        preset=preset,
        max_length=config.sampling.max_completion_length,
        widths=tuple((role, rollout.tokens.shape[2]) for role, rollout in played.rollouts.items()),
    )
    batches = learning.pack_updates(played, advantages, tools.limits, config, tools.packing, tools.reference, start)
    clock.lap("reward")

    train, sums = state.train, []
    for packed in batches:
        train, found = tools.update(train, packed)
        sums.append(found)
    total = jax.tree.map(lambda *x: sum(float(v) for v in x), *jax.device_get(sums))
    clock.lap("update")

    row = stepmetrics.step_row(played, rewards, advantages, frozen_PGK) | stepmetrics.divide(total)
    if experiment.is_builtin(config.data):
        row |= stepmetrics.label_row(played, exp.tokenizer)
    seconds = {k: v for k, v in clock.seconds.items() if k != "episode"} | played.seconds
    row |= {f"time/{phase}": s for phase, s in seconds.items()} | {"step_time": sum(seconds.values())}
    row |= {"alpha": alpha, "learning_rate": float(tools.schedule(number * config.grpo.num_mini_batches))}
    row["num_tokens"] = float(sum(int(r.length.sum()) for r in played.rollouts.values()))
    row["tokens_per_second"] = row["num_tokens"] / row["step_time"]
    samples = stepmetrics.samples(played, rewards, exp.tokenizer, config.run.log_completions)
    return RunState(train=train, ratio=ratio), row, samples, batches


def train(config: Config, *, resume: bool = False, display: Display | None = None) -> dict:
    """Run an experiment to its end.

    Returns:
      What results.json holds: `base` and `trained` tables, and their `change`.

    Raises:
      ValueError: a mistake in the configuration, the data or the folder.
      FloatingPointError: the loss became not a number; the last good state and the batch are kept.
      Stopped: interrupted and saved.
    """
    display = display or Display(every=config.run.logging_steps)
    began = time.monotonic()
    with (
        Interrupt() as interrupt,
        runfolder.create_or_open(config.run.output_dir, config, resume=resume) as folder,
        Pool(config.grading.num_workers, config.grading.timeout_s) as pool,
        open_checkpoints(folder.checkpoints, config.run.save_total_limit) as checkpoints,
        open_checkpoints(folder.path / "start", 1) as starts,
    ):
        exp = experiment.prepare(config, folder.path, display.say)
        tools = make_tools(exp, pool)
        start = _starting_policy(exp, starts, display, interrupt)
        state, number, memory = _open_state(exp, start, checkpoints, folder)
        base = _evaluation(start, 0, tools, folder, display)
        if PRESETS[config.reward.preset].helpers == "none" and not any(config.grpo.beta):
            start = None
        first = number
        with display.bar("train", config.run.max_steps, done=number) as advance:
            while number < config.run.max_steps and not interrupt:
                state, row, samples, batches = step(state, start, number, tools)
                number += 1
                _refuse_broken(row, number, state, batches, checkpoints, memory, folder, exp)
                memory, warnings = monitor.observe(
                    memory, {"step": number} | row, config.monitor, limit=config.sampling.max_completion_length
                )
                row["warnings"] = warnings
                folder.write_metrics(number, row)
                folder.write_samples(number, samples)
                advance(1, note=_note(row))
                for line in warnings:
                    display.warn(line)
                last = number == config.run.max_steps
                if last or interrupt or (config.run.save_steps and number % config.run.save_steps == 0):
                    _save(checkpoints, number, state, memory, exp)
                if config.run.eval_steps and number % config.run.eval_steps == 0 and not last and not interrupt:
                    _evaluation(state.train.params, number, tools, folder, display)
        checkpoints.wait()
        if interrupt:
            raise Stopped(
                f"{interrupt.signal.name}: stopped after step {number} and saved; "
                f"go on with the same command and --resume",
                interrupt.exit_code,
            )
        trained = _evaluation(state.train.params, number, tools, folder, display)
        results = _results(base, trained, exp, number, time.monotonic() - began, number - first)
        folder.write_json("results.json", results)
        return results


def _starting_policy(exp, starts: Checkpoints, display: Display, interrupt: Interrupt) -> Params:
    """The policy before step 0: restored if it was made before, else initialised and warm-started."""
    config = exp.config
    build = jax.jit(api.init, static_argnames="config")
    if starts.latest_step() is not None:
        return starts.restore(None, _abstract(jax.eval_shape(lambda: build(jax.random.key(0), config=config.model))))[0]
    params = build(jax.random.key(config.run.seed), config=config.model)
    display.say(f"policy of {api.num_params(params) / 1e6:.2f}M parameters on {jax.device_count()} {jax.default_backend()}")
    if config.warmup.max_steps:
        with display.bar("warm-up", config.warmup.max_steps, every=config.warmup.max_steps // 5) as advance:
            params = warmup.run(params, config, exp.tokenizer, advance, lambda: bool(interrupt))
        if interrupt:
            raise Stopped(f"{interrupt.signal.name}: stopped in the warm-up, which begins anew", interrupt.exit_code)
    starts.save(0, params, {})
    starts.wait()
    return params


def _open_state(exp, start: Params, checkpoints: Checkpoints, folder: RunFolder) -> tuple[RunState, int, dict]:
    """State, steps done and the monitor's memory: from the newest whole checkpoint, or new."""
    config = exp.config
    transformation, _ = optimizer.make_optimizer(config.optimizer, 1)

    def new(params):
        train = TrainState(step=jnp.int32(0), params=params, opt_state=transformation.init(params))
        return RunState(train=train, ratio=initial_ratio())

    if checkpoints.latest_step() is None:
        folder.truncate_after(0)
        # A copy: the update donates what it is given, and `start` must stay.
        return jax.jit(lambda p: new(jax.tree.map(jnp.copy, p)))(start), 0, {}
    state, meta, number = checkpoints.restore(None, _abstract(jax.eval_shape(new, start)))
    for name, now in _identity(exp).items():
        if meta[name] != now:
            raise ValueError(
                f"{folder.path}: checkpoint {number} belongs to another {name} ({meta[name]}, now {now}); "
                "restore the files it was made with, or set another run.output_dir"
            )
    folder.truncate_after(number)
    return state, number, meta["monitor"]


def _abstract(shapes):
    """Shapes with this process's layout, for a restore."""
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), shapes)


def _identity(exp: experiment.Experiment) -> dict[str, str]:
    return {"data": exp.stream.fingerprint, "tokenizer": exp.tokenizer.fingerprint}


def _save(checkpoints: Checkpoints, number: int, state: RunState, memory: dict, exp) -> None:
    checkpoints.save(number, state, {"monitor": memory} | _identity(exp))


def _evaluation(params: Params, number: int, tools: Tools, folder: RunFolder, display: Display) -> dict:
    """Evaluate, write it down, and return {table, correct, length}; found again where it was done before."""
    exp, config = tools.exp, tools.exp.config
    file = folder.path / "evaluation" / f"step_{number:06d}.json"
    if file.is_file():
        return json.loads(file.read_text())
    modes = 1 + config.evaluation.greedy
    with display.bar(f"evaluate at {number}", modes * len(exp.test), every=0) as advance:
        answers = loop.evaluate(
            params,
            exp.test,
            jax.random.fold_in(jax.random.key(config.run.seed), EVALUATION),
            config,
            exp.tokenizer,
            labelled=config.data.test == experiment.BUILTIN,
            pool=tools.pool,
            advance=advance,
        )
    found = {
        "table": loop.table(answers, exp.test, config),
        "answers": {m: {"correct": a.correct.tolist(), "length": a.length.tolist()} for m, a in answers.items()},
    }
    file.parent.mkdir(exist_ok=True)
    samples = [{"mode": mode} | row for mode, a in answers.items() for row in a.samples]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in samples)
    file.with_suffix(".jsonl").write_text(lines)
    folder.write_json(f"evaluation/{file.name}", found)
    return found


def _refuse_broken(row, number: int, state: RunState, batches, checkpoints, memory, folder: RunFolder, exp) -> None:
    """Stop on a loss that is no number. The update kept the last good parameters; they and the batch are saved."""
    config = exp.config
    if row.get("reason/ungradable") and row["reason/ungradable"] > config.grading.max_failure_rate:
        raise ValueError(
            f"step {number}: {row['reason/ungradable']:.0%} of the answers could not be graded; see grader_status in "
            f"{folder.path}/samples, or raise grading.max_failure_rate={config.grading.max_failure_rate}"
        )
    if row["loss"] is not None and row["grad_norm"] is not None:
        return
    file = folder.path / f"bad_batch_step_{number:06d}.npz"
    arrays = {f"{i}/{k}": v for i, b in enumerate(batches) for k, v in vars(b).items() if v is not None}
    np.savez(file, **jax.device_get(arrays))
    _save(checkpoints, number - 1, state, memory, exp)
    checkpoints.wait()
    raise FloatingPointError(
        f"step {number}: the loss is not a number; the parameters before it are in checkpoint {number - 1}, the batch in "
        f"{file}; lower optimizer.learning_rate={config.optimizer.learning_rate} and start from there"
    )


def _note(row: dict) -> str:
    """What matters, behind the progress bar."""
    parts = [f"acc {row['reason/accuracy']:.2f}", f"tokens {row['reason/completions/mean_length']:.0f}"]
    if row.get("score/mean") is not None:
        parts.append(f"score {row['score/mean']:.1f}")
    if row.get("score/live_minus_frozen") is not None:
        parts.append(f"({row['score/live_minus_frozen']:+.1f} live-frozen)")
    return "  ".join([*parts, f"{row['tokens_per_second']:.0f} tok/s"])


def _results(base: dict, trained: dict, exp, number: int, seconds: float, steps_now: int) -> dict:
    """Before, after, and the paired difference on the same problems."""
    change = {}
    for mode, before in base["answers"].items():
        after = trained["answers"][mode]
        pair = [(np.array(x["correct"]), np.array(x["length"])) for x in (before, after)]
        change[mode] = {name: dataclasses.asdict(e) for name, e in metrics.compare(*pair).items()}
    return {
        "base": base["table"],
        "trained": trained["table"],
        "change": change,
        "steps": number,
        "problems": len(exp.test),
        "dropped_problems": exp.dropped,
        "seconds": seconds,
        "steps_this_launch": steps_now,
        "preset": exp.config.reward.preset,
        "seed": exp.config.run.seed,
    }
