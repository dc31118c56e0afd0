"""Training. One step, with the place of each part:

 1. problems      the step's problems, the same on every host                              data/dataset.py
 2. reason        each is answered num_generations times                                   agents/reasoner.py, sampling/
                  begun while those of the step before are graded, if asked for            run/ahead.py
 3. grade         the answers are found, and graded in worker processes                    tasks/, grading/
                  groups that are all right or all wrong replaced, if asked for            agents/dynamic_sampling.py
 4. help          the same policy splits each chain into chunks, and scores them           agents/episode.py
 5. yardsticks    what the scores are held against: the frozen scorer, contributions       run/yardsticks.py
                  the user's own reward functions, where there are some                    run/reward_functions.py
 6. reward        R = R_acc - alpha f(sum phi(w_i) |s_i|), a row of a table of methods     rewards/methods.py
 7. advantage     against the group, over tokens or chunks                                 grpo/signal.py
 8. update        rows of all roles packed, the clipped loss, AdamW                        grpo/learner.py

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

import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.agents import dynamic_sampling, episode
from jaxreason.agents.episode import Known
from jaxreason.agents.roles import REASON
from jaxreason.config import Config
from jaxreason.config.doors import DoorFailed
from jaxreason.evaluation import heldout
from jaxreason.grading.pool import Pool
from jaxreason.grpo import learner, optimizer
from jaxreason.grpo.learner import Answers
from jaxreason.grpo.signal import signal
from jaxreason.parallel import hosts
from jaxreason.parallel.mesh import on_mesh
from jaxreason.policy import lora
from jaxreason.rewards import budget
from jaxreason.rewards.length import RISKS
from jaxreason.rewards.methods import chosen
from jaxreason.run import (
    ahead,
    base_model,
    doors,
    held_out_alarm,
    helper_lessons,
    keys,
    on_alarm,
    provenance,
    remember,
    reward_functions,
    setup,
    yardsticks,
)
from jaxreason.run import folder as run_folder
from jaxreason.run import metrics as step_metrics
from jaxreason.run import state as run_state
from jaxreason.run.checkpoint import open_checkpoints
from jaxreason.run.interrupt import Abandoned, Interrupt
from jaxreason.run.profile import traced
from jaxreason.run.programs import Programs, prepare
from jaxreason.run.progress import Display
from jaxreason.run.recording import record_step
from jaxreason.run.start import starting_helpers, starting_policy
from jaxreason.run.state import RunState
from jaxreason.run.trackers import Trackers, refuse_missing
from jaxreason.types import Params


def step(
    state: RunState,
    start: Params | None,
    number: int,
    programs: Programs,
    wait: Callable = jax.block_until_ready,
    helper_start: Params | None = None,
) -> tuple[RunState, dict, list[dict], list]:
    """One training step, as numbered at the top of this file.

    Args:
      state: donated.
      start: the policy as it was before step 0, which adapters belong to; None where nothing needs it.
      number: of the step, from 0.
      wait: blocks until arrays are ready, or raises if the user interrupted; not called once the state is donated.
      helper_start: the same of the helpers, where they are a policy of their own; None where the policy plays them.

    Returns:
      New state, the row of metrics, sample rows, and the batches the update saw (kept for a post-mortem).
    """
    exp, config = programs.exp, programs.exp.config
    method, clock = chosen(config), episode.Clock()
    key, drawn = functools.partial(keys.of_step, number, config=config), ahead.begun(state.ahead)
    helper_start = start if helper_start is None else helper_start
    before = [state.train] if state.helper is None else [state.train, state.helper]
    starts = (start, helper_start)[: len(before)]
    now = [lora.policy(its.params, its_start, config.lora) for its, its_start in zip(before, starts, strict=True)]
    helpers = {"none": None, "train": now[-1], "frozen": helper_start}[method.helpers]

    place = run_state.position_of(state, number, config)
    problems = exp.stream.rows(place, exp.stream.batch_size)  # 1
    played = episode.run(  # 2, 3, 4
        now[0], helpers, problems, key(keys.SAMPLING), config, exp.tokenizer, programs.pool, wait,
        known=Known(programs.lengths.expected([one.id for one in problems]), run_state.known_lift(state), drawn),
        fill=dynamic_sampling.filler(exp.stream, place, config, remember.easy_share(state.memory)),
        then=functools.partial(ahead.begin, now[0], number + 1, place, exp, programs.lengths),
    )  # fmt: skip
    programs.lengths.note([one.id for one in played.problems], played.rollouts[REASON.name].length)
    clock.lap("episode")
    given = reward_functions.of_step(played, number, place, programs, clock, wait)
    teaches = start if state.teacher is None else lora.policy(state.teacher, start, config.lora)
    seen, lessons = yardsticks.measure(played, method, start, helper_start, helpers, teaches, programs, clock)  # 5
    seen = remember.added_to(given.added_to(seen), played, state.memory, number, exp)
    alpha = budget.alpha_of(state.budget, config.reward, number)
    rewards, advantages, ratio = signal(  # 6, 7
        seen, jnp.float32(alpha), state.ratio, key(keys.REWARD),
        reward=config.reward, grpo=config.grpo, method=method, max_length=config.sampling.max_completion_length,
    )  # fmt: skip
    answers = {role: Answers(played.prompts[role], rollout) for role, rollout in played.rollouts.items()} | lessons
    pack = functools.partial(learner.pack_updates, answers, advantages, programs.limits, config.grpo, lift=played.lift)
    batches = [wait(pack(*of_one)) for of_one in zip(programs.learners, now, starts, strict=True)]
    packed = [one for some in batches for one in some]
    clock.lap("reward")
    if played.following is not None:
        wait(played.following)  # it reads what the update is donated, and an update cannot be given up
        clock.lap("ahead")
    learning_rate = np.asarray(programs.schedule(optimizer.updates_made(state.train.opt_state))).item()
    (train, *helper), total = learner.learn(programs.learners, before, batches, starts)  # 8
    clock.lap("update")

    row = step_metrics.row_of(played, rewards, advantages, seen, packed, total, clock.seconds, exp)
    memory = remember.after_step(state.memory, method, played, rewards, config)
    after = run_state.after_step(state, train, helper, ratio, memory, played, row, number, config)
    row |= {"alpha": alpha, "learning_rate": learning_rate} | budget.metrics(after.budget, alpha, config, number)
    row |= ahead.metrics(drawn, config)
    return after, row | given.metrics, given.noted(step_metrics.samples(played, rewards, exp)), packed


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
      DoorFailed: the user's own code failed in mid-run; saved like an interrupted run.
    """
    display = display or Display(every=config.run.logging_steps)
    own_code = doors.load(config)
    refuse_missing(config)
    chosen(config)  # a setting that its method cannot work with is refused before anything is fetched
    if risk := RISKS.get(config.reward.masking):
        display.warn(f"reward.masking={config.reward.masking}: {risk} (arXiv:2602.20945); watch it by run.eval_steps")
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
        Trackers(config, folder.path, display.warn) as trackers,
        Pool(config.grading.num_workers, config.grading.timeout_s) as pool,
        open_checkpoints(folder.checkpoints, config.run.save_total_limit) as checkpoints,
        open_checkpoints(folder.path / run_folder.START, 1) as starts,
        open_checkpoints(folder.path / run_folder.BEST, 1) as bests,
    ):
        begun = run_folder.begun(folder.path)
        doors.refuse_changed(folder, own_code, config, display.warn)
        programs = prepare(config, folder, pool, display, released, helper_released)
        exp, evaluation_key = programs.exp, keys.of_evaluation(config)
        run_state.require_space(exp, checkpoints)
        helper_start = starting_helpers(exp, folder.path, display, interrupt)
        begin = functools.partial(
            starting_policy, exp, starts, folder.path, display, interrupt, roles=setup.demonstrated(config),
            teach=helper_lessons.teacher(programs, display, interrupt),
        )  # fmt: skip
        start = begin()
        state, number, memory = run_state.open_state(exp, start, helper_start, checkpoints, folder)
        configured, programs = programs, on_alarm.eased(programs, memory)
        doors.record(folder, own_code, number)
        if begun:
            display.say(f"{folder.path}: going on after step {number} of {config.run.max_steps}")

        asks = bool(setup.asked_helpers(config))

        def evaluation(trained: Params | None, number: int) -> dict:
            nonlocal memory
            params = start if trained is None else lora.policy(trained, start, config.lora)
            helpers = (start if helper_start is None else helper_start) if asks else None
            found = heldout.evaluate_once(
                params, number, evaluation_key, exp, pool, folder, display, helpers=helpers, wait=interrupt.wait
            )
            memory = held_out_alarm.noted(memory, number, found["table"])
            trackers.step(number, heldout.headline(found["table"]))
            if config.run.keep_best and trained is not None:
                run_state.keep_best(bests, number, trained, folder, display)
            return found

        def save() -> None:
            if number > first:
                run_state.save_last(checkpoints, number, state, memory, exp, folder)

        first = number
        ended_by = on_alarm.end(memory, number, config, display.warn)  # if that was its last act before it was killed
        evaluates = config.run.eval_steps or config.run.max_steps
        try:
            base = evaluation(None, 0)
            if number == 0:
                state = run_state.begin_budget(state, base["table"], config.budget, display.warn)
            if not run_state.keeps_start(config):
                start = None
            if 0 < number < config.run.max_steps and number % evaluates == 0:
                evaluation(state.train.params, number)  # if the run was stopped between its step and its evaluation
            with display.bar("train", config.run.max_steps, done=number) as advance:
                while number < config.run.max_steps and not ended_by:
                    interrupt.check()
                    with traced(folder.path, number + 1, config.run.profile_steps, display.say):
                        state, row, samples, batches = step(
                            state, start, number, programs, interrupt.wait, helper_start
                        )
                    number += 1
                    folder.write_samples(number, samples)
                    run_state.refuse_broken(row, number, state, batches, checkpoints, memory, folder, exp)
                    memory = record_step(number, row, memory, programs.exp.config, folder, display, advance)
                    trackers.step(number, row)
                    trackers.completions(number, samples)
                    back = on_alarm.goes_back(memory, config)
                    if back:
                        state, memory, line = on_alarm.roll_back(
                            state, number, memory, exp.config, folder, bests, begin
                        )
                        programs = on_alarm.eased(configured, memory)
                        display.warn(line)
                    ended_by = on_alarm.end(memory, number, config, display.warn)
                    last = number == config.run.max_steps or ended_by
                    if last or back or (config.run.save_steps and number % config.run.save_steps == 0):
                        run_state.try_save(checkpoints, number, state, memory, exp, folder, display)
                    if number % evaluates == 0 and not last:
                        evaluation(state.train.params, number)
            save()
            trained = evaluation(state.train.params, number)
        except Abandoned:
            save()
            raise interrupt.stopped(f"after step {number}" if number else "before the first step") from None
        except DoorFailed as failed:
            save()
            doors.note_failure(folder, failed)
            raise doors.stopped(failed, number) from None
        steps = {"steps": number, "steps_this_launch": number - first, "seconds": time.monotonic() - began}
        results = heldout.results(base, trained, config) | {"dropped_problems": exp.dropped} | steps
        results |= {"ended_by": ended_by, "rollbacks": memory.get("rollbacks", [])}
        folder.write_json("results.json", results)
        folder.settle()
        return results
