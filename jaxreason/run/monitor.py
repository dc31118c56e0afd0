"""Signs of trouble in the metric rows of a run. They warn; they change nothing.

Thresholds are those read off published collapses (arXiv:2602.20945; letters A to F as there), the helpers' signs follow
from what a shared reward pays for: scores that only rise, and chunks that merge until a score means nothing.
All the memory there is, is a small JSON dictionary that is saved with the run. This module computes no metric.
"""

import math
from collections.abc import Mapping
from typing import Any

from jaxreason.config import MonitorConfig
from jaxreason.run import held_out_alarm

POSITIVE_SHARE = "reason/reward/positive_share"
SAMPLED_ACCURACY = "reason/sampled_accuracy"
ENTROPY = "reason/entropy"
NO_ANSWER = "reason/no_answer"
CUT = "reason/completions/clipped_ratio"
LENGTH = "reason/completions/mean_length"
LENGTH_RIGHT = "reason/completions/mean_length_right"
LENGTH_WRONG = "reason/completions/mean_length_wrong"
INFLATION = "score/live_minus_frozen"
NEEDLESS_HIGH = "score/needless_high"
NEEDLESS_TOKENS = "reason/needless_tokens"
CHUNKS = "segment/chunks"
SEGMENT_VALID = "segment/valid"
SCORE_VALID = "score/valid"
ONE_CHUNK = "segment/one_chunk"
SPREAD = "score/spread"
PLACE = "score/place_correlation"
ALL_CORRECT = "reason/frac_all_correct"
PENALTY = "reason/rewards/penalty/mean"
BUDGET_ALPHA = "budget/alpha"
BUDGET_TOKENS = "budget/tokens"
BUDGET_TARGET = "budget/target"
WATCHED = (
    POSITIVE_SHARE,
    ENTROPY,
    LENGTH,
    LENGTH_RIGHT,
    LENGTH_WRONG,
    INFLATION,
    NEEDLESS_HIGH,
    NEEDLESS_TOKENS,
    CHUNKS,
    SEGMENT_VALID,
    SCORE_VALID,
    ONE_CHUNK,
    SPREAD,
    PLACE,
    ALL_CORRECT,
    PENALTY,
    BUDGET_ALPHA,
    BUDGET_TOKENS,
    BUDGET_TARGET,
)
"""The metrics that are read; one that a run does not have is not watched."""

NOISE = (
    5.0  # A and E, standard errors that a change must exceed too, for few problems a step differ by more than a trend;
)
# so many, since the best and the worst of many windows are compared
NOISE_FROM = 8  # pairs of neighbouring steps from which on the noise can be told
POSITIVE_FALL = 0.08  # A, below its best
POSITIVE_AT_START = 0.3  # B
ENTROPY_LOW = 0.65  # C, of its start; healthy published runs bottom out at 0.73 and above
SOLVED = 0.9  # C, share of rewarded completions: where nearly all are right, answers that vary little are no sign
ENTROPY_HIGH, ENTROPY_VERY_HIGH = 1.5, 2.0  # D, of its start
RIGHT_LENGTH_RISE = 1.15  # E, of its least
CAP_SHARE = 0.95  # F, of the token limit
NEEDLESS_RISE = 0.15  # above its start
NEEDLESS_LEFT = 0.05  # of the tokens; of fewer, those the scorer overlooks are all that remains
VALID_FALL = 0.10  # below its best
MOSTLY = 0.5  # of the completions
VALID_LOW = 0.5  # at the first step
UNSPLIT = 0.9  # share of completions
CONSTANT = 0.05  # points of score, inside a completion
BY_PLACE = 0.7  # correlation
MERGED_CHUNKS = 1.5  # a completion, where there were at least 2
CHUNK_GROWTH = 2.0  # tokens a chunk, of its start
ALPHA_CANCELS = 0.5  # share of groups whose advantages do not depend on alpha
BUDGET_MISSED = 1.05  # of the target
BUDGET_PROGRESS = 0.99  # of the shortest mean so far
BUDGET_PATIENCE = 2  # windows
SETTLED = 0.01  # change of the mean length over STAGE_WINDOWS, as a share of it
STAGE_WINDOWS = 2
ADAPTED = 0.95  # of the length at the start: one that never fell has not been adapted to anything


def observe(
    state: Mapping[str, Any],
    row: Mapping[str, Any],
    config: MonitorConfig,
    *,
    limit: int,
    target: int = 0,
    ceiling: float = math.inf,
    scaled: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """Take in one step's metrics.

    A sign is judged on means over the last `config.window` steps, from half a window after the first row on, and is
    reported when it appears: again only after it has been gone for a window. A metric that is absent or None (nothing
    was counted) leaves its mean as it was.

    Args:
      state: what the last call returned, or `held_out_alarm.noted` after an evaluation; {} at the start. Plain JSON,
        not changed.
      row: metric name -> number, with "step".
      config: inflation_gap in points of score, window in steps.
      limit: L_R, the token limit of the reasoner.
      target: L_T, the length beyond which an answer earns nothing; 0: the limit, and then a wrong answer at the limit
        is no sign of anything.
      ceiling: the largest alpha that a budget can reach.
      scaled: whether advantages are divided by the standard deviation of their group.

    Returns:
      The new state, and warnings of one line each. In the state, `new` has the names of the signs that these lines are
      about, and `stage` is 1 while the mean length is being adapted and 2 once it has settled (see `_stage`).
    """
    step = int(row["step"])
    start = state.get("start", step)
    if SAMPLED_ACCURACY in row:  # dynamic sampling: the groups that were kept would hide a collapse
        row = {**row, POSITIVE_SHARE: row[SAMPLED_ACCURACY]}
    recent = {name: list(points) for name, points in state.get("recent", {}).items()}
    jumps = {name: tuple(state.get("jumps", {}).get(name, (0, 0.0))) for name in (POSITIVE_SHARE, LENGTH_RIGHT)}
    for name in WATCHED:
        value = row.get(name)
        if value is not None and math.isfinite(value):
            if name in jumps and recent.get(name) and recent[name][-1][0] == step - 1:
                jumps[name] = (jumps[name][0] + 1, jumps[name][1] + (value - recent[name][-1][1]) ** 2)
            points = [p for p in recent.get(name, []) if step - config.window < p[0] < step]
            recent[name] = [*points, [step, float(value)]]
    mean = {name: sum(v for _, v in points) / len(points) for name, points in recent.items() if points}
    if CHUNKS in mean and LENGTH in mean:
        mean["tokens_per_chunk"] = mean[LENGTH] / max(mean[CHUNKS], 1.0)

    first, least, most = (dict(state.get(key, {})) for key in ("first", "least", "most"))
    shortest = dict(state.get("shortest", {}))
    signs = _not_finite(row) | (_nothing_earned(row, limit) if step == start else {})
    signs |= held_out_alarm.sign(state.get("evaluated", ()))
    if step == start or step - start >= config.window // 2:
        signs |= _idle(mean, first=step == start)
    if step - start >= config.window // 2:
        for name, value in mean.items():
            first.setdefault(name, value)
            least[name] = min(value, least.get(name, value))
            most[name] = max(value, most.get(name, value))
        noise = {name: _noise(jumps[name], max(1, len(recent.get(name, ())))) for name in jumps}
        signs |= _collapse(mean, first, least, most, noise, limit=limit, target=target or limit)
        signs |= _helpers(mean, first, most, config)
        if scaled and mean.get(PENALTY, 0.0) > 0 and mean.get(ALL_CORRECT, 0.0) > ALPHA_CANCELS:
            signs["cancels"] = (
                f"alpha cancels: all answers are right in {mean[ALL_CORRECT]:.2f} of the groups, where "
                "grpo.scale_rewards=group gives length full strength whatever alpha is; set it to batch or none"
            )
        if BUDGET_TOKENS in mean:
            if mean[BUDGET_TOKENS] < BUDGET_PROGRESS * shortest.get("tokens", math.inf):
                shortest = {"tokens": mean[BUDGET_TOKENS], "step": step}
            signs |= _budget(mean, shortest["tokens"], step - shortest["step"], config, ceiling)

    shown = dict(state.get("shown", {}))
    new = {sign: text for sign, text in signs.items() if sign not in shown or step - shown[sign] > config.window}
    shown |= dict.fromkeys(signs, step)
    after = {"start": start, "recent": recent, "first": first, "least": least, "most": most, "shown": shown}
    after |= {"jumps": jumps, "evaluated": state.get("evaluated", ())}
    if shortest:
        after["shortest"] = shortest
    if LENGTH in first:
        after |= _stage(state, step, mean[LENGTH], first[LENGTH], config)
    after["new"] = list(new)
    return after, [f"step {step}: {text}" for text in new.values()]


def _stage(state: Mapping[str, Any], step: int, length: float, first: float, config: MonitorConfig) -> dict[str, Any]:
    """Which of the two stages of length training a run is in, and the lengths that this is judged by.

    Length adaptation comes first: lengths fall fast, and accuracy may dip. Refinement follows: lengths stay and
    accuracy recovers (arXiv:2602.20945, section 4). The second begins when the mean length has changed by less than
    SETTLED within STAGE_WINDOWS windows, once it has fallen at all; what has begun is not taken back.

    >>> _stage({"stage": 2}, 90, 50.0, 100.0, MonitorConfig())["stage"]
    2
    """
    span = STAGE_WINDOWS * config.window
    lengths = [*(point for point in state.get("lengths", []) if point[0] >= step - span), [step, length]]
    then, before = lengths[0]
    settled = then <= step - span and abs(length / max(before, 1e-9) - 1) < SETTLED and length < ADAPTED * first
    return {"lengths": lengths, "stage": 2 if settled else state.get("stage", 1)}


def _not_finite(row: Mapping[str, Any]) -> dict[str, str]:
    bad = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
    text = f"not a finite number: {', '.join(sorted(bad))}; if it stays, lower optimizer.learning_rate"
    return {"finite": text} if bad else {}


def _nothing_earned(row: Mapping[str, Any], limit: int) -> dict[str, str]:
    """Why a run's first completions earned nothing at all, in a step from which nothing can be learnt."""
    if row.get(POSITIVE_SHARE) != 0:
        return {}
    none, cut = row.get(NO_ANSWER) or 0.0, row.get(CUT) or 0.0
    why = f"no answer found in {none:.0%} of the completions, {cut:.0%} cut at sampling.max_completion_length={limit}"
    if cut >= MOSTLY:
        remedy = "raise sampling.max_completion_length"
    elif none >= MOSTLY:
        remedy = (
            "read some in samples/; data.task=math also takes answers in words, and a task of your own (data.task) any "
            "form"
        )
    else:
        remedy = (
            "the answers found are wrong: take easier problems (`data.train`) or more generations "
            "(sampling.num_generations)"
        )
    return {"nothing": f"no completion was rewarded, so nothing is learnt: {why}; {remedy}"}


def _noise(steps: tuple[int, float], window: int) -> float:
    """Standard error of the difference between the means of two windows of so many steps.

    Args:
      steps: how many pairs of neighbouring steps there were, and the sum of the squares of their differences: a trend
        counts for little in it. Of fewer pairs than NOISE_FROM nothing is told, and the error is 0.

    >>> _noise((8, 8.0), 10)
    0.31622776601683794
    """
    pairs, squares = steps
    return math.sqrt(squares / pairs / window) if pairs >= NOISE_FROM else 0.0


def _collapse(mean, first, least, most, noise, *, limit: int, target: int) -> dict[str, str]:
    """Alarms A to F, on the reasoner alone."""
    signs = {}
    share = mean.get(POSITIVE_SHARE)
    if share is not None:
        best = most[POSITIVE_SHARE]
        if best - share > max(POSITIVE_FALL, NOISE * noise[POSITIVE_SHARE]):
            signs["A"] = (
                f"A: the share of rewarded completions fell to {share:.2f} from {best:.2f}, so the policy is getting "
                "worse; stop, and go on from an earlier checkpoint with a lower reward.alpha or optimizer.learning_rate"
            )
        if first[POSITIVE_SHARE] < POSITIVE_AT_START:
            signs["B"] = (
                f"B: only {first[POSITIVE_SHARE]:.2f} of the first completions were rewarded, too few to learn from "
                "safely; take easier problems, more generations or a longer limit"
            )
    if ENTROPY in mean and first[ENTROPY] > 0:
        ratio = mean[ENTROPY] / first[ENTROPY]
        # A policy that learns to be right varies less as well; it is a sign where rewards have stopped rising.
        rising = share is not None and (share >= most[POSITIVE_SHARE] or share > SOLVED)
        if ratio < ENTROPY_LOW and not rising:
            signs["C"] = (
                f"C: entropy is {ratio:.2f} of its start and rewards no longer rise: the policy may be learning to be "
                "short rather than right; look at held-out accuracy, and lower reward.alpha if it falls"
            )
        if ratio > ENTROPY_HIGH:
            signs["D"] = (
                f"D: entropy is {ratio:.2f} of its start: answers are becoming more random; read some in samples/, and "
                "lower optimizer.learning_rate if they are worse"
            )
        if ratio > ENTROPY_VERY_HIGH:
            signs["D2"] = (
                f"D: entropy is {ratio:.2f} of its start: the policy is falling apart; take fewer updates a batch "
                "(grpo.num_mini_batches), or stop"
            )
    shortest = least.get(LENGTH_RIGHT, math.inf)
    if mean.get(LENGTH_RIGHT, 0.0) > max(RIGHT_LENGTH_RISE * shortest, shortest + NOISE * noise[LENGTH_RIGHT]):
        signs["E"] = (
            f"E: right answers grew to {mean[LENGTH_RIGHT]:.0f} tokens from {least[LENGTH_RIGHT]:.0f}, their shortest: "
            "what was saved is being lost; an earlier checkpoint is the better policy"
        )
    # Only a rise to the limit is a sign: where the target is the limit, wrong answers lie there from the start.
    if LENGTH_WRONG in mean and target < limit:
        cap = CAP_SHARE * limit
        if mean[LENGTH_WRONG] > cap >= first[LENGTH_WRONG]:
            signs["F"] = (
                f"F: wrong answers run to the limit ({mean[LENGTH_WRONG]:.0f} of {limit} tokens): they are not held "
                "against the policy; let them count (reward.masking, grpo.mask_truncated_completions)"
            )
    return signs


def _budget(mean, shortest: float, stalled: int, config: MonitorConfig, ceiling: float) -> dict[str, str]:
    """Signs that the budget of tokens is out of reach: not met so far, and answers no shorter for `stalled` steps.

    Alpha at its ceiling is a sign earlier, but none by itself: it is there from the start where there is far to go.
    """
    tokens, target = mean[BUDGET_TOKENS], mean[BUDGET_TARGET]
    if shortest <= BUDGET_MISSED * target:
        return {}
    there = f"{tokens:.0f} tokens, {target:.0f} wanted"
    if mean[BUDGET_ALPHA] > 0.99 * ceiling and stalled >= config.window:
        return {"ceiling": f"budget: alpha is at its ceiling of {ceiling:g} ({there}); set a larger target"}
    if stalled >= BUDGET_PATIENCE * config.window:
        return {"stalled": f"budget: no shorter for {stalled} steps ({there}); set a larger target, or train longer"}
    return {}


def _idle(mean, *, first: bool) -> dict[str, str]:
    """Signs that importance does nothing, which need no history: a run of weeks shall not begin with them unseen."""
    signs = {}
    for name, role in ((SEGMENT_VALID, "segmenter"), (SCORE_VALID, "scorer")):
        if first and mean.get(name, 1.0) < VALID_LOW:
            signs[f"idle {role}"] = (
                f"idle helpers: only {mean[name]:.2f} of the {role}'s answers can be read; set "
                "agents.decoding=constrained, or teach the helpers first (warmup.chains)"
            )
    if mean.get(ONE_CHUNK, 0.0) >= UNSPLIT:
        signs["unsplit"] = (
            f"idle helpers: {mean[ONE_CHUNK]:.2f} of the completions are a single chunk, so nothing is charged by "
            "importance; set a smaller agents.chunk_length, agents.boundaries=natural where it is any, or teach the "
            "helpers first (warmup.chains)"
        )
    if mean.get(SPREAD, 1.0) < CONSTANT:
        signs["constant"] = (
            "idle helpers: all chunks of a completion have the same score, so nothing is charged by importance; teach "
            "the helpers first (warmup.chains), or set reward.preset=lp"
        )
    elif abs(mean.get(PLACE, 0.0)) > BY_PLACE:
        signs["place"] = (
            f"scores by place: their correlation with the place in the list is {mean[PLACE]:.2f}, so the scorer counts "
            "rather than reads; teach the helpers first (warmup.chains)"
        )
    return signs


def _helpers(mean, first, most, config: MonitorConfig) -> dict[str, str]:
    """Signs that the helpers earn their reward without doing their work."""
    signs = {}
    if mean.get(INFLATION, 0.0) > config.inflation_gap:
        signs["inflation"] = (
            f"score inflation: the scorer gives {mean[INFLATION]:.2f} points more than at the start for the same text; "
            "raise grpo.beta of the scorer, or set reward.preset to guarded or frozen"
        )
    left = mean.get(NEEDLESS_TOKENS, 1.0) > NEEDLESS_LEFT
    if left and NEEDLESS_HIGH in mean and mean[NEEDLESS_HIGH] - first[NEEDLESS_HIGH] > NEEDLESS_RISE:
        signs["needless"] = (
            f"score inflation: {mean[NEEDLESS_HIGH]:.2f} of the needless chunks are scored 4 or 5, "
            f"{first[NEEDLESS_HIGH]:.2f} at the start, so they are no longer paid for; set reward.preset to guarded"
        )
    if CHUNKS in mean and first[CHUNKS] >= 2:
        grown = mean.get("tokens_per_chunk", 0.0) / max(first.get("tokens_per_chunk", 1.0), 1e-9)
        if mean[CHUNKS] < MERGED_CHUNKS or grown > CHUNK_GROWTH:
            signs["merging"] = (
                f"merging: {mean[CHUNKS]:.1f} chunks a completion, {first[CHUNKS]:.1f} at the start; "
                "raise agents.min_chunks"
            )
    for name in (SEGMENT_VALID, SCORE_VALID):
        if name in mean and most[name] - mean[name] > VALID_FALL:
            role = name.split("/", maxsplit=1)[0]
            signs[name] = (
                f"valid answers of the {role} role fell to {mean[name]:.2f} from {most[name]:.2f}: its chunks or "
                "scores count for less; raise reward.format_penalty, or decode it under the constraint"
            )
    return signs
