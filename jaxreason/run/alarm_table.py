"""Every alarm of a run in words: its sign and what to do. `monitor` and `held_out_alarm` have the thresholds."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Alarm:
    """A sign of trouble."""

    name: str
    sign: str
    remedy: str


ABOUT_ALARMS = (
    "Alarms warn, on the terminal and in the row's `warnings`; A, the second D, E, F and G can also end a run or take"
    " the policy back (`run.on_alarm`). Each but G is judged on the mean of the last `monitor.window` steps. A to F are"
    " read off published collapses (arXiv:2602.20945)."
)

ALARMS: tuple[Alarm, ...] = (
    Alarm(
        "A",
        "The share of rewarded completions fell 0.08 below its best, and by more than few problems a step differ by"
        " anyway: the policy is getting worse.",
        "Stop; go on from an earlier checkpoint with a lower `reward.alpha` or `optimizer.learning_rate`.",
    ),
    Alarm(
        "B",
        "Fewer than 0.3 of the first completions were rewarded: too few to learn from safely.",
        "Take easier problems, more generations or a longer limit.",
    ),
    Alarm(
        "C",
        "Entropy fell below 0.65 of its start and rewards no longer rise: the policy may be learning to be short rather"
        " than right.",
        "Look at held-out accuracy; lower `reward.alpha` if it falls.",
    ),
    Alarm(
        "D",
        "Entropy rose above 1.5 times its start (again at 2): answers are becoming random.",
        "Read some in `samples/`; lower `optimizer.learning_rate`, or take fewer updates a batch.",
    ),
    Alarm(
        "E",
        "Right answers grew 15 % above their shortest, and by more than few problems a step differ by anyway: what was"
        " saved is being lost.",
        "Take the policy of an earlier checkpoint.",
    ),
    Alarm(
        "F",
        "Wrong answers grew to the token limit: they are not held against the policy.",
        "Let them count (`reward.masking`, `grpo.mask_truncated_completions`).",
    ),
    Alarm(
        "G",
        "Lengths have settled, and held-out accuracy is below its best in three evaluations in a row, by more than 0.03"
        " and 2.5 standard errors, without rising: the policy has become short and wrong (`run.eval_steps`).",
        "Take the policy of the best evaluation (`--step best`), with a lower `reward.alpha` or a longer target.",
    ),
    Alarm(
        "idle",
        "From the first step on: nearly every completion is one chunk, or all chunks of a completion have one score, so"
        " that no length is charged by importance; or, at the first step, half of a helper's answers cannot be read.",
        "Set a smaller `agents.chunk_length`, `agents.boundaries=natural` where it is `any`, or teach the helpers"
        " first (`warmup.chains`); or take `reward.preset=lp`.",
    ),
    Alarm(
        "place",
        "From the first step on: scores follow the place of a chunk in the list rather than what it says.",
        "Teach the helpers first (`warmup.chains`).",
    ),
    Alarm(
        "inflation",
        "The scorer gives more than `monitor.inflation_gap` points more than at the start, for the same text.",
        "Raise `grpo.beta` of the scorer, or set `reward.preset` to guarded or frozen.",
    ),
    Alarm(
        "needless",
        "The share of needless chunks scored 4 or 5 rose by 0.15, so they are no longer paid for (built-in task).",
        "Set `reward.preset` to guarded.",
    ),
    Alarm("merging", "Chunks merge until a score means little.", "Raise `agents.min_chunks`."),
    Alarm(
        "valid",
        "A helper's readable answers fell 0.10 below their best: its chunks or scores count for less.",
        "Raise `reward.format_penalty`, or decode it under the constraint (`agents.decoding`).",
    ),
    Alarm(
        "cancels",
        "Most groups are all right under `grpo.scale_rewards=group`, where alpha cancels.",
        "Set it to batch or none.",
    ),
    Alarm("budget", "The budget is out of reach: answers stopped getting shorter.", "A larger budget, or more steps."),
    Alarm(
        "nothing",
        "No completion of the first step was rewarded; it says how many hold no answer and how many were cut.",
        "Take `data.task=math` or a task of your own, raise `sampling.max_completion_length`, or take easier problems.",
    ),
    Alarm("finite", "A metric is not a finite number.", "The run stops and keeps the batch and the last good state."),
)
"""The alarms, in the order of the page."""
