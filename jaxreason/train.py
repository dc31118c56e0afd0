"""Training: problems -> three roles -> reward -> advantage -> update, once a step, and what surrounds it.

Departures from the papers (SCMA, arXiv:2601.21919; The Art of Efficient Reasoning, arXiv:2602.20945), and choices
where they are silent, with the configuration field where there is one:

 1. The default preset `guarded` pays the helpers for form and for agreement with the scorer as it was at the start,
    not with the shared reward: that one is raised by calling everything important. `scma` is the paper's.
 2. Helpers decode under a constraint by default, so a split is lossless by construction (agents.decoding=free: the
    paper's free text).
 3. y is the text before the answer line, thought and visible text alike, without the tags of the thought: the answer
    itself is never penalised, and reasoning moved behind `</think>` is.
 4. An answer cut at the token limit counts as wrong (reward.require_eos) and pays for all of |y|.
 5. Where a helper's answer is invalid, the reasoner pays the share of |y| that valid ones pay on average
    (reward.invalid_helper).
 6. Groups of equal reward have advantage exactly 0 and, without KL, are left out of the update.
 7. Role weights are shares: the loss is their weighted mean, each role averaged by itself.
 8. The scorer sees the question (agents.scorer_sees_question); the paper's notation shows it the chunks only.
 9. Who plays the helpers can be chosen: a policy of their own (agents.helper_policy), or one helper for both parts of
    the work (agents.helpers); the paper's are the policy itself, by two prompts.
10. No KL term (grpo.beta) and an upper clip of 0.28 (grpo.epsilon_high), after the second paper.
11. Whose lengths are compared (reward.gate) and where the length term goes (grpo.credit) can be chosen. The defaults
    are the papers', everybody's and the whole chain; the quickstart compares right answers only and credits chunks.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason import learning, teaching
from jaxreason.agents import contribution, episode, frozen_scorer
from jaxreason.config import Config
from jaxreason.evaluation import heldout
from jaxreason.grading.pool import Pool
from jaxreason.grpo import optimizer
from jaxreason.parallel import hosts
from jaxreason.parallel.mesh import on_mesh, refuse_vocabulary
from jaxreason.rewards import budget
from jaxreason.rewards.methods import chosen
from jaxreason.run import base_model, monitor, provenance, setup
from jaxreason.run import folder as run_folder
from jaxreason.run import metrics as step_metrics
from jaxreason.run import state as run_state
from jaxreason.run.checkpoint import open_checkpoints
from jaxreason.run.interrupt import Abandoned, Interrupt
from jaxreason.run.programs import Tools, make_tools
from jaxreason.run.progress import Display
from jaxreason.run.state import RunState
from jaxreason.tasks.calculator import oracle
from jaxreason.types import Params

EVALUATION, STEP = 1, 2
"""What a key is for; folded in first, so that no two uses share randomness."""


def step(
    state: RunState,
    start: Params | None,
    number: int,
    tools: Tools,
    wait: Callable = jax.block_until_ready,
    helper_start: Params | None = None,
) -> tuple[RunState, dict, list[dict], list]:
    """One training step: the picture in the design, top to bottom.

    Args:
      state: donated.
      start: the policy as it was before step 0; None where nothing needs it.
      number: of the step, from 0.
      wait: returns arrays when they are made, or raises to give the step up; not called once the state is donated.
      helper_start: the same of the helpers, where they are a policy of their own; None where the policy plays them.

    Returns:
      New state, the row of metrics, sample rows, and the batches the update saw (kept for a post-mortem).
    """
    exp, config = tools.exp, tools.exp.config
    preset = chosen(config)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.run.seed), STEP), number)
    clock = episode.Clock()

    problems = exp.stream.batch(number)
    helper_start = start if helper_start is None else helper_start
    helper_params = {"none": None, "train": (state.helper or state.train).params, "frozen": helper_start}[
        preset.helpers
    ]
    played = episode.run(
        state.train.params, helper_params, problems, jax.random.fold_in(key, 0), config, exp.tokenizer, tools.pool, wait
    )
    clock.lap("episode")

    frozen_PGK = None
    if preset.helpers == "train":
        frozen_PGK = frozen_scorer.expected_scores(
            helper_start, played, tools.expect, config, exp.tokenizer, shapes=tools.frozen_shapes
        )
    clock.lap("frozen_scorer")
    contribution_PGK, shown = None, played
    if preset.measured:
        contribution_PGK = contribution.contributions(
            start, played, tools.likelihood, count=contribution.num_problems(config), shapes=tools.contribution_shapes
        )
        scale = config.reward.contribution_scale
        shown = teaching.corrected(played, contribution_PGK, scale, tools.learners[-1], helper_params, exp.tokenizer)
        clock.lap("contribution")

    if state.budget is None:
        alpha = config.reward.alpha * min(1.0, (number + 1) / max(1, config.reward.alpha_warmup_steps))
    else:
        alpha = float(state.budget.alpha)
    truth = None
    if preset.labelled:
        truth = oracle.true_chunks(problems, played.rollouts["reason"], played.reasonings, exp.tokenizer)
    rewards, advantages, ratio = learning.signal(
        learning.outcome(played, frozen_PGK, truth, contribution_PGK),
        jnp.float32(alpha),
        state.ratio,
        jax.random.fold_in(key, 1),
        reward=config.reward,
        grpo=config.grpo,
        preset=preset,
        max_length=config.sampling.max_completion_length,
        widths=tuple((role, rollout.tokens.shape[2]) for role, rollout in played.rollouts.items()),
    )
    batches = [
        wait(learning.pack_updates(shown, advantages, tools.limits, config, learner, its_start))
        for learner, its_start in zip(tools.learners, (start, helper_start), strict=False)
    ]
    clock.lap("reward")

    learning_rate = np.asarray(tools.schedule(optimizer.updates_made(state.train.opt_state))).item()
    before = [state.train] if state.helper is None else [state.train, state.helper]
    (train, *helper), total = learning.learn(tools.learners, before, batches)
    if total["not_finite"][0]:
        ratio = state.ratio
    clock.lap("update")

    row = step_metrics.step_row(
        played, rewards, advantages, frozen_PGK, contribution_PGK, config.reward
    ) | step_metrics.divide(total)
    if setup.is_builtin(config.data):
        row |= step_metrics.label_row(played, exp.tokenizer)
    budget_state = state.budget
    if budget_state is not None:
        share = jnp.float32(budget.approached(config.reward, number, config.run.max_steps))
        if not total["not_finite"][0]:
            length = jnp.float32(row["reason/completions/mean_length"])
            budget_state = budget.update(budget_state, length, jnp.float32(config.reward.alpha), share)
        row |= {
            "budget/alpha": alpha,
            "budget/tokens": float(jnp.exp(budget_state.log_tokens)),
            "budget/aim": float(budget.aim(budget_state, share)),
            "budget/target": float(budget_state.target),
        }
    seconds = {k: v for k, v in clock.seconds.items() if k != "episode"} | played.seconds
    row |= {f"time/{phase}": s for phase, s in seconds.items()} | {"step_time": sum(seconds.values())}
    row |= {"alpha": alpha, "learning_rate": learning_rate}
    row["num_tokens"] = float(sum(int(r.length.sum()) for r in played.rollouts.values()))
    row["tokens_per_second"] = row["num_tokens"] / sum(seconds.values())
    samples = step_metrics.samples(
        played, rewards, exp.tokenizer, config.run.log_completions, require_eos=config.reward.require_eos
    )
    after = RunState(train=train, ratio=ratio, budget=budget_state, helper=helper[0] if helper else None)
    return after, row, samples, [packed for some in batches for packed in some]


def train(config: Config, *, display: Display | None = None) -> dict:
    """Run an experiment to its end, from where the folder's run stands.

    A finished run is left as it is. SIGTERM and Ctrl-C give up a step until its update begins, an evaluation at any
    time, also while the device is at work; the state of the last whole step is saved, from which the same step is done
    again with the same key. What cannot be given up: a program being compiled, and an update. The warm-up is not saved.

    Returns:
      What results.json holds: `base` and `trained` tables, and their `change`.

    Raises:
      ValueError: a mistake in the configuration, the data or the folder.
      FloatingPointError: the loss became not a number; the last good state and the batch are kept.
      Stopped: interrupted and saved.
    """
    display = display or Display(every=config.run.logging_steps)
    config, released = base_model.find(config)
    config, helper_released = base_model.find_helpers(config)
    hosts.refuse_difference(provenance.launch_identity(config))
    if found := hosts.agree(run_folder.finished(config.run.output_dir, config)):
        display.say(f"{config.run.output_dir}: finished before; raise run.max_steps to go on, or set another folder")
        return found
    began = time.monotonic()
    with (
        Interrupt(hosts.gather) as interrupt,
        on_mesh(config, display.warn),
        run_state.open_folder(config) as folder,
        Pool(config.grading.num_workers, config.grading.timeout_s) as pool,
        open_checkpoints(folder.checkpoints, config.run.save_total_limit) as checkpoints,
        open_checkpoints(folder.path / run_folder.START, 1) as starts,
        open_checkpoints(folder.path / run_folder.BEST, 1) as bests,
    ):
        begun = run_folder.begun(folder.path)
        own = folder.path if hosts.first() else folder.path / "hosts" / str(jax.process_index())
        exp = setup.prepare(config, own, display.say, released, helper_released)
        hosts.refuse_difference(run_state.identity(exp))
        refuse_vocabulary(exp.config)
        tools = make_tools(exp, pool)
        evaluation_key = jax.random.fold_in(jax.random.key(config.run.seed), EVALUATION)
        run_state.require_space(exp, checkpoints)
        helper_start = run_state.starting_helpers(exp, folder.path, display, interrupt)
        start = run_state.starting_policy(
            exp, starts, folder.path, display, interrupt, roles=setup.demonstrated(config)
        )
        state, number, memory = run_state.open_state(exp, start, helper_start, checkpoints, folder)
        if begun:
            display.say(f"{folder.path}: going on after step {number} of {config.run.max_steps}")

        asks = bool(setup.asked_helpers(config))

        def evaluation(params: Params, number: int) -> dict:
            found = heldout.evaluate_once(
                params, number, exp.test, evaluation_key, exp.config, exp.tokenizer, pool, folder, display,
                labelled=config.data.test == setup.BUILTIN, wait=interrupt.wait,
                helpers=(start if helper_start is None else helper_start) if asks else None,
            )  # fmt: skip
            if config.run.keep_best:
                run_state.keep_best(bests, number, params, folder, display)
            return found

        first = number
        evaluates = config.run.eval_steps or config.run.max_steps
        try:
            base = evaluation(start, 0)
            if number == 0:
                state = run_state.begin_budget(state, base["table"], config.reward, display.warn)
            if not run_state.keeps_start(config):
                start = None
            if 0 < number < config.run.max_steps and number % evaluates == 0:
                evaluation(state.train.params, number)  # if the run was stopped between its step and its evaluation
            with display.bar("train", config.run.max_steps, done=number) as advance:
                while number < config.run.max_steps:
                    interrupt.check()
                    state, row, samples, batches = step(state, start, number, tools, interrupt.wait, helper_start)
                    number += 1
                    folder.write_samples(number, samples)
                    run_state.refuse_broken(row, number, state, batches, checkpoints, memory, folder, exp)
                    memory, warnings = monitor.observe(
                        memory,
                        {"step": number} | row,
                        config.monitor,
                        limit=config.sampling.max_completion_length,
                        target=config.reward.target_length if config.reward.preset == "truncation" else 0,
                        ceiling=budget.ceiling(config.reward.alpha),
                        scaled=config.grpo.scale_rewards == "group" and row["alpha"] > 0,
                    )
                    row["warnings"] = warnings
                    folder.write_metrics(number, row)
                    advance(1, note=_note(row) + (f"  {folder.trouble}" if folder.trouble else ""))
                    for line in [*warnings, *([f"step {number}: {folder.trouble}"] if folder.trouble else [])]:
                        display.warn(line)
                    last = number == config.run.max_steps
                    if last or (config.run.save_steps and number % config.run.save_steps == 0):
                        run_state.try_save(checkpoints, number, state, memory, exp, folder, display)
                    if number % evaluates == 0 and not last:
                        evaluation(state.train.params, number)
            if number > first:
                run_state.save_last(checkpoints, number, state, memory, exp, folder)
            trained = evaluation(state.train.params, number)
        except Abandoned:
            if number > first:
                run_state.save_last(checkpoints, number, state, memory, exp, folder)
            raise interrupt.stopped(f"after step {number}" if number else "before the first step") from None
        results = {
            "base": base["table"],
            "trained": trained["table"],
            "change": heldout.change(base, trained),
            "preset": config.reward.preset,
            "seed": config.run.seed,
            "steps": number,
            "problems": len(exp.test),
            "dropped_problems": exp.dropped,
            "seconds": time.monotonic() - began,
            "steps_this_launch": number - first,
        }
        folder.write_json("results.json", results)
        folder.settle()
        return results


def _note(row: dict) -> str:
    """What matters, behind the progress bar."""
    parts = [f"tokens {row['reason/completions/mean_length']:.0f}"]
    if row["reason/accuracy"] is not None:
        parts.insert(0, f"acc {row['reason/accuracy']:.2f}")
    if row.get("score/mean") is not None:
        parts.append(f"score {row['score/mean']:.1f}")
    if row.get("score/live_minus_frozen") is not None:
        parts.append(f"({row['score/live_minus_frozen']:+.1f} live-frozen)")
    return "  ".join([*parts, f"{row['tokens_per_second']:.0f} tok/s"])
