"""Every number that a run writes: its name, unit, meaning, when it is absent, and which alarm reads it.

The one place where a metric's name can be found and looked up; the metrics page of the documentation is written from
it, and a test holds it against the rows of real runs, so that no name is missing here and none here is dead. Plain
data: it imports nothing, computes nothing, and no figure depends on it.

A name may hold placeholders: `{role}` stands for each of `PLACEHOLDERS["role"]`, and a part in square brackets may be
missing.
"""

import dataclasses
import re

PLACEHOLDERS: dict[str, tuple[str, ...]] = {
    "role": ("reason", "segment", "score", "annotate"),
    "s": ("1", "2", "3", "4", "5"),
    "cause": (
        "truncated",
        "no_tags",
        "unbalanced",
        "nested",
        "text_outside",
        "empty_chunk",
        "too_many",
        "too_few",
        "not_lossless",
        "count",
        "order",
        "range",
    ),
    "k": ("1", "2", "4", "...", "num_samples"),
    "function": ("your function's name",),
    "logged": ("what a function passes to log_metric",),
}
"""What a placeholder of a name stands for."""

_PATTERNS = {"k": r"\d+", "function": r"[\w.]+", "logged": r"[^/]+"}
"""Placeholders that stand for more than their list."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One metric, or a family of them."""

    name: str
    unit: str
    meaning: str
    absent: str = "never"
    """when the name is not in a row, or its value is null"""
    alarm: str = ""
    """names of `alarm_table.ALARMS`, with commas"""


@dataclasses.dataclass(frozen=True)
class Group:
    """Metrics about one thing."""

    title: str
    about: str
    rows: tuple[Row, ...]


ABOUT = (
    "A run writes one JSON object a step to `metrics.jsonl` and the same numbers to TensorBoard (`tb/`). Names are"
    " TRL's where TRL has one, with the role in front. A value is `null` where nothing was counted in that step; a name"
    " that does not apply to the run is left out. Lengths are tokens of the completion itself, and means are over the"
    " whole step, all devices and micro-batches, unless the table says otherwise. `{role}` is `reason`, `segment`,"
    " `score` or `annotate` (the single helper that segments and scores); a part in square brackets may be missing."
    " This page is written from `jaxreason/run/metric_table.py`."
)

_NO_HELPERS = "no helpers are sampled"
_NOT_AHEAD = "`run.staleness` is 0"
_NOT_UPDATED = "the role is not updated, or no token of it had an advantage"
_NOT_CORRECTED = "`grpo.importance_sampling_correction` is `none`, or no token of the role had an advantage"
_NO_FUNCTIONS = "`reward.reward_funcs` is empty"
_TASK = "the task has no labels, or the problems are not its own (the calculator has labels)"

GROUPS: tuple[Group, ...] = (
    Group(
        "Step",
        "One number each for the whole step.",
        (
            Row("step", "steps", "Number of the step, from 1."),
            Row("alpha", "–", "Weight of the length penalty in this step: the schedule's, or the controller's."),
            Row("learning_rate", "–", "Learning rate of the step's first update."),
            Row("num_tokens", "tokens", "Tokens sampled in this step by all roles, those of groups left out too."),
            Row("tokens_per_second", "tokens / s", "`num_tokens` / `step_time`."),
            Row("step_time", "s", "Sum of the phases below `time/`."),
            Row("warnings", "text", "The lines of the alarms in this step; a list, empty when nothing was wrong."),
            Row("alarms", "text", "What these lines are about, a letter or a short name each; `D2` is the second D."),
            Row(
                "stage",
                "1 or 2",
                "Of length training (arXiv:2602.20945): 1 while lengths are being adapted, 2 from when their mean has"
                " changed by less than 1 % within two `monitor.window`s.",
                "in the first half window",
            ),
            Row("rollbacks", "count", "Times that `run.on_alarm` has taken the policy back so far."),
        ),
    ),
    Group(
        "Completions",
        "Over the role's completions. A helper is not sampled for a chain that was cut at the limit,"
        " could not be graded, or is empty.",
        (
            Row("{role}/completions/mean_length", "tokens", "Mean length.", "the role was not sampled", "merging"),
            Row("{role}/completions/min_length", "tokens", "Shortest.", "the role was not sampled"),
            Row("{role}/completions/max_length", "tokens", "Longest.", "the role was not sampled"),
            Row(
                "{role}/completions/clipped_ratio",
                "share",
                "Completions cut at the role's token limit.",
                "the role was not sampled",
            ),
            Row(
                "{role}/completions/mean_terminated_length",
                "tokens",
                "Mean length of those that ended by themselves.",
                "none ended by itself",
            ),
        ),
    ),
    Group(
        "The reasoner",
        "What the answers were worth and how long they were.",
        (
            Row(
                "reason/accuracy",
                "share",
                "Right answers / answers that could be graded. An answer cut at the limit is wrong unless"
                " `reward.require_eos` is false.",
                "no answer could be graded",
            ),
            Row(
                "reason/reward/positive_share",
                "share",
                "Completions that earn something before the price of length, such as right ones; under `truncation`"
                " right ones within the target. Of all that could be graded, those left out by `reward.masking` too, as"
                " in arXiv:2602.20945.",
                "no answer could be graded",
                "A, B",
            ),
            Row(
                "reason/frac_all_correct",
                "share",
                "Groups in which every answer is right.",
                alarm="cancels",
            ),
            Row(
                "reason/staleness",
                "steps",
                "Steps by which the policy that sampled was behind the one that learns: 1, or 0 at the first step,"
                " after a rollback, and where a finished run is given more steps. Of the first batch under dynamic"
                " sampling; further ones are sampled by the newest policy.",
                _NOT_AHEAD,
            ),
            Row(
                "reason/num_gen_batches",
                "count",
                "Times that the step sampled to fill its batch with groups that have spread.",
                "`grpo.dynamic_sampling` is off",
            ),
            Row(
                "reason/groups_sampled",
                "count",
                "Groups sampled in all; above `data.prompts_per_step` + `reason/groups_replaced` by those with spread"
                " that were one too many.",
                "`grpo.dynamic_sampling` is off",
            ),
            Row(
                "reason/groups_replaced",
                "count",
                "Groups left out since their answers are all right or all wrong.",
                "`grpo.dynamic_sampling` is off",
            ),
            Row(
                "reason/groups_without_spread",
                "count",
                "Groups of this kind in the batch: the bound was reached before enough others were found.",
                "`grpo.dynamic_sampling` is off",
            ),
            Row(
                "reason/groups_all_right",
                "count",
                "Groups in the batch whose answers are all right: let in by a curriculum, or for want of others.",
                "`grpo.dynamic_sampling` is off",
            ),
            Row(
                "reason/easy_share",
                "share",
                "Of the batch that may be such groups, by the curriculum of `decs`; 0 without.",
                "`grpo.dynamic_sampling` is off",
            ),
            Row(
                "reason/sampled_accuracy",
                "share",
                "`reason/accuracy` over all groups sampled, which the filter cannot move.",
                "`grpo.dynamic_sampling` is off, or no answer could be graded",
            ),
            Row(
                "reason/completions/mean_length_right",
                "tokens",
                "Mean length of completions with a right answer.",
                "none was right",
                "E",
            ),
            Row(
                "reason/completions/mean_length_wrong",
                "tokens",
                "Mean length of the others.",
                "all were right",
                "F",
            ),
            Row(
                "reason/completions/mean_length_positive",
                "tokens",
                "Mean length of completions with R > 0, those of `reason/reward/positive_share`.",
                "there was none",
            ),
            Row(
                "reason/completions/mean_length_not_positive",
                "tokens",
                "Mean length of the others: under `truncation`, wrong or too long.",
                "there was none",
            ),
            Row(
                "reason/target_length",
                "tokens",
                "L_T of this step: the quantile of the right answers' lengths, within its floor and the token limit.",
                "`reward.target_quantile` is 0",
            ),
            Row(
                "reason/teacher_kl",
                "nats",
                "Reverse KL divergence from the policy to its teacher, a token, by the sampled ones (`crisp`).",
                "the method has no teacher",
            ),
            Row("reason/completions/mean_length_y", "tokens", "Mean of |y|, the reasoning before the answer line."),
            Row(
                "reason/penalised_share",
                "share",
                "Mean over completions of (charged length) / |y|: 1 means that all of the text is paid for.",
                "the method charges nothing, or has no helpers",
            ),
            Row(
                "reason/no_answer",
                "share",
                "Completions in which the task finds no answer, cut ones among them.",
                alarm="nothing",
            ),
            Row("reason/ungradable", "share", "Answers on which the grader itself failed; they leave the statistics."),
            Row("reason/grader_timeouts", "answers", "Answers that took longer than `grading.timeout_s`."),
        ),
    ),
    Group(
        "Rewards",
        "`reason/rewards/*` are the parts of the reward, before their weights, as means over all completions; a part is"
        " 0 where it does not apply.",
        (
            Row("{role}/reward", "reward", "Mean total reward of the role's counted rows.", "the role is not updated"),
            Row(
                "{role}/reward_std",
                "reward",
                "Mean over groups of the standard deviation of the total within the group.",
                "the role is not updated, or no group has two counted rows",
            ),
            Row(
                "{role}/frac_reward_zero_std",
                "share",
                "Groups whose rewards are all equal: they teach nothing.",
                "the role is not updated",
            ),
            Row("reason/rewards/accuracy/mean", "share", "R_acc: right answers / all answers."),
            Row(
                "reason/rewards/penalty/mean",
                "–",
                "f, before alpha; wrong answers count 0 under a gate.",
                "the method charges nothing for length",
                "cancels",
            ),
            Row(
                "reason/rewards/weighted_length/mean",
                "tokens",
                "Charged length: sum of phi(w) |s| over the chunks, or |y| for a plain penalty.",
                "the method charges nothing for length",
            ),
            Row(
                "reason/rewards/outcome/mean",
                "reward",
                "What the length method rewards before any price: right answers for most; right within the target for"
                " `truncation`; with their bonus for `kimi`, `laser`, `laser_d` and `dapo_overlong`.",
            ),
            Row(
                "reason/rewards/format_segment/mean",
                "reward",
                "0 for a split that can be read, -`reward.format_penalty` for one that cannot.",
                _NO_HELPERS,
            ),
            Row("reason/rewards/format_score/mean", "reward", "The same of the scores.", _NO_HELPERS),
            Row(
                "reason/rewards/format_annotate/mean",
                "reward",
                "The sum of both, of a helper that does both.",
                "`agents.helpers` is `two`",
            ),
            Row(
                "reason/rewards/agreement/mean",
                "reward",
                "Minus the mean gap between live and frozen scores, weighted by tokens, over 4: in -1..0.",
                "helpers are not trained",
            ),
            Row(
                "reason/rewards/contribution/mean",
                "reward",
                "The same gap to what the chunks measurably contribute.",
                "the method is not `contribution`",
            ),
            Row(
                "reason/rewards/functions/mean",
                "reward",
                "Weighted sum of the reward functions that apply, 0 where none does.",
                _NO_FUNCTIONS,
            ),
        ),
    ),
    Group(
        "Your reward functions",
        "Of `reward.reward_funcs`, before their weights, under TRL's names. A function is named by its own name; two of"
        " one name have that of their file in front.",
        (
            Row(
                "rewards/{function}/mean",
                "reward",
                "Mean over the completions that it applies to.",
                f"{_NO_FUNCTIONS}, or it applies to none",
            ),
            Row(
                "rewards/{function}/std",
                "reward",
                "Standard deviation over the same (n - 1).",
                f"{_NO_FUNCTIONS}, or it applies to fewer than two",
            ),
            Row(
                "rewards/{logged}",
                "your own",
                "Mean of what the functions passed to `log_metric` under this name in the step.",
                "none logs it",
            ),
        ),
    ),
    Group(
        "The segmenter",
        "Shares are of the segmenter's answers. Under `agents.helpers=one` they are about the split"
        " in the single helper's answer.",
        (
            Row("segment/valid", "share", "Splits that can be read and are lossless.", _NO_HELPERS, "valid, idle"),
            Row(
                "segment/{cause}",
                "share",
                "Splits that cannot be used, by the first cause: `truncated`, `no_tags`, `unbalanced`, `nested`,"
                " `text_outside` the tags, `empty_chunk`, `too_many` or `too_few` chunks, `not_lossless`.",
                _NO_HELPERS,
            ),
            Row(
                "segment/lossless_exact",
                "share",
                "Splits that give back y byte for byte, white space included.",
                _NO_HELPERS,
            ),
            Row("segment/chunks", "chunks", "Mean number of chunks of a valid split.", "no valid split", "merging"),
            Row("segment/one_chunk", "share", "Valid splits that are a single chunk.", "no valid split", "idle"),
            Row(
                "segment/necessary_prefix",
                "share",
                "PNRP (arXiv:2509.25827): tokens of y up to the first chunk that holds the answer, over all; of right"
                " answers. Found by text, where DeCS asks a judge: an answer that is a common number is found early.",
                "no right answer was split and holds its answer before the box",
            ),
            Row("segment/chunk_length", "tokens", "Mean length of a chunk.", "no valid split"),
            Row(
                "segment/lift",
                "nats",
                "What is added to the logit of a new chunk so that chunks have `agents.chunk_length` tokens; solved on"
                " the first step.",
                "chunks may begin anywhere, `agents.chunk_length` is 0, or the method has no helpers",
            ),
        ),
    ),
    Group(
        "The scorer",
        "Over the chunks that were scored, 1 (could go) to 5 (essential). *Frozen* is the scorer as it was at the"
        " start, reading the same chunks: its expected score.",
        (
            Row("score/valid", "share", "Scorer's answers that can be read.", _NO_HELPERS, "valid, idle"),
            Row(
                "score/{cause}",
                "share",
                "Answers that cannot be used, by the first cause: `truncated`, `no_tags`, `text_outside`, a wrong"
                " `count` or `order`, a score out of `range`.",
                _NO_HELPERS,
            ),
            Row("score/mean", "score", "Mean score.", "nothing was scored"),
            Row("score/share_{s}", "share", "Chunks with this score.", "nothing was scored"),
            Row(
                "score/spread",
                "score",
                "Standard deviation of the scores of a completion, the mean over those of several chunks.",
                "no completion has several scored chunks",
                "idle",
            ),
            Row(
                "score/place_correlation",
                "–",
                "Correlation of a chunk's score, less its completion's mean, and its place in the list: far from 0 the"
                " scorer may be counting rather than reading.",
                "no completion has several scored chunks, or nothing varies",
                "place",
            ),
            Row(
                "score/length_correlation",
                "–",
                "Correlation of a chunk's score and its tokens.",
                "nothing was scored, or one of them does not vary",
            ),
            Row(
                "score/frozen_mean", "score", "Mean of the frozen scorer's expected scores.", "helpers are not trained"
            ),
            Row(
                "score/live_minus_frozen",
                "score",
                "Mean of live - frozen score on the same chunks: above 0 is inflation.",
                "helpers are not trained",
                "inflation",
            ),
            Row(
                "score/live_penalised_share",
                "share",
                "Tokens that the live scores charge: sum of phi(score) |s| / sum of |s|.",
                "helpers are not trained",
            ),
            Row(
                "score/frozen_penalised_share",
                "share",
                "The same by the frozen scores, phi interpolated between whole ones.",
                "helpers are not trained",
            ),
            Row(
                "score/worth_mean",
                "score",
                "Mean score that the measured contributions are worth.",
                "the method is not `contribution`",
            ),
            Row(
                "score/live_minus_worth",
                "score",
                "Mean of live score - worth.",
                "the method is not `contribution`",
            ),
            Row(
                "score/worth_correlation",
                "–",
                "Correlation of live scores and worth.",
                "the method is not `contribution`, or one does not vary",
            ),
        ),
    ),
    Group(
        "The update, by role",
        "Over the tokens that the loss counts: rows without advantage are left out where there is no KL term.",
        (
            Row("{role}/entropy", "nats", "Entropy of the next-token distribution.", _NOT_UPDATED, "C, D"),
            Row(
                "{role}/ratio/mean",
                "–",
                "Mean of exp(logp - old_logp): 1 while sampler and trainer agree and no update lies between them.",
                _NOT_UPDATED,
            ),
            Row("{role}/ratio/log_abs_mean", "nats", "Mean of |logp - old_logp|: 0 then.", _NOT_UPDATED),
            Row(
                "{role}/sampling/importance_sampling_ratio/mean",
                "–",
                "Mean of trainer's over sampler's probability, unbounded; of sequences under a sequence correction.",
                _NOT_CORRECTED,
            ),
            Row("{role}/sampling/importance_sampling_ratio/min", "–", "Least of them.", _NOT_CORRECTED),
            Row("{role}/sampling/importance_sampling_ratio/max", "–", "Largest of them.", _NOT_CORRECTED),
            Row(
                "{role}/sampling/sampling_logp_difference/mean",
                "nats",
                "Mean of |trainer's - sampler's log-probability| of a token, before the update.",
                _NOT_CORRECTED,
            ),
            Row("{role}/sampling/sampling_logp_difference/max", "nats", "Largest of them.", _NOT_CORRECTED),
            Row(
                "{role}/sampling/effective_sample_size",
                "share",
                "(sum w)^2 / (n sum w^2) of the correction's weights: 1 where all are equal, 0 where all are masked.",
                _NOT_CORRECTED,
            ),
            Row(
                "{role}/clip_ratio/low_mean",
                "share",
                "Tokens whose gradient the lower clip removed: negative advantage, ratio below 1 - epsilon.",
                _NOT_UPDATED,
            ),
            Row(
                "{role}/clip_ratio/high_mean",
                "share",
                "The same above 1 + epsilon_high, positive advantage.",
                _NOT_UPDATED,
            ),
            Row("{role}/clip_ratio/region_mean", "share", "Either.", _NOT_UPDATED),
            Row(
                "{role}/kl",
                "nats",
                "k3 estimate of KL(policy, start): exp(r) - r - 1 with r = ref_logp - logp.",
                "every `grpo.beta` is 0",
            ),
        ),
    ),
    Group(
        "The update",
        "Behind `helper/` stand those of helpers with a policy of their own.",
        (
            Row("[helper/]loss", "–", "The loss: mean over roles of their clipped objective, and KL.", "not finite"),
            Row(
                "[helper/]grad_norm",
                "–",
                "Global norm of the gradient, before `optimizer.max_grad_norm`.",
                "not finite",
            ),
            Row(
                "[helper/]skipped",
                "share",
                "Updates that changed nothing: no token had an advantage, or the loss was not finite.",
            ),
            Row(
                "not_finite", "share", "Updates whose loss or gradient was not a number; the run stops.", alarm="finite"
            ),
        ),
    ),
    Group(
        "Budget",
        "With `reward.target_tokens` or `reward.target_reduction`.",
        (
            Row("budget/target", "tokens", "The budget B.", "there is no budget", "budget"),
            Row("budget/aim", "tokens", "Where the schedule is on its way down to B.", "there is no budget"),
            Row("budget/tokens", "tokens", "Moving average of the mean length.", "there is no budget", "budget"),
            Row("budget/alpha", "–", "The controller's alpha in this step.", "there is no budget", "budget"),
        ),
    ),
    Group(
        "Experts",
        "Of a mixture of experts, as means over its layers.",
        (
            Row(
                "[helper/]experts/busiest_share",
                "share",
                "Choices that the busiest expert got; 1 / experts when even.",
                "the model is dense",
            ),
            Row(
                "[helper/]experts/load_entropy",
                "–",
                "Entropy of the shares over that of even ones; 1 when even.",
                "the model is dense",
            ),
            Row("[helper/]experts/unused", "share", "Experts that nobody chose.", "the model is dense"),
        ),
    ),
    Group(
        "The built-in task",
        "From its labels, which say of each line what it is. Diagnostics: no reward reads them.",
        (
            Row("reason/needless_tokens", "share", "Tokens in lines that could go.", _TASK, "needless"),
            Row("reason/malformed_tokens", "share", "Tokens in lines that match no step of the question.", _TASK),
            Row("reason/checked_guesses", "share", "Guesses that are worked out.", f"{_TASK}, or nothing was guessed"),
            Row(
                "score/needless_high",
                "share",
                "Needless chunks that were scored 4 or 5.",
                f"{_TASK}, or no such chunk",
                "needless",
            ),
            Row("score/needed_low", "share", "Needed chunks that were scored 1 or 2.", f"{_TASK}, or no such chunk"),
        ),
    ),
    Group(
        "Time",
        "Wall time of the step's phases on process 0. The first step compiles.",
        (
            Row("time/reason", "s", "Sampling the reasoner."),
            Row("time/grade", "s", "Reading and grading its answers."),
            Row(
                "time/ahead",
                "s",
                "Waiting for the next step's answers, which the device began to sample before this step's were graded.",
                f"{_NOT_AHEAD}, or the step is the last",
            ),
            Row("time/segment", "s", "Sampling the segmenter.", _NO_HELPERS),
            Row("time/score", "s", "Sampling the scorer.", _NO_HELPERS),
            Row("time/annotate", "s", "Sampling the single helper.", "`agents.helpers` is `two`"),
            Row("time/parse", "s", "Reading the helpers' answers onto the reasoner's tokens.", _NO_HELPERS),
            Row("time/frozen_scorer", "s", "The frozen scorer on the same chunks."),
            Row("time/teacher", "s", "The teacher's reading of the completions.", "the method has no teacher"),
            Row("time/reward_functions", "s", "Your reward functions.", _NO_FUNCTIONS),
            Row("time/contribution", "s", "Measuring contributions.", "the method is not `contribution`"),
            Row("time/reward", "s", "Rewards, advantages, packing, reference log-probabilities."),
            Row("time/update", "s", "The update."),
        ),
    ),
)
"""What a row of metrics.jsonl may hold."""

EVALUATION = Group(
    "Evaluation",
    "The tables of `evaluation/step_*.json`, and of `base` and `trained` in `results.json`: figures of the sampled"
    " answers, and the same of the greedy ones below `greedy`. `by_source` holds them for each source (a level, a data"
    " set). The problem is the unit of chance: errors are clustered by problem.",
    (
        Row("problems", "problems", "Held-out problems."),
        Row("samples", "samples", "Answers a problem."),
        Row("accuracy", "share", "Mean@k: mean over problems of the share of right answers.", alarm="G"),
        Row("accuracy_stderr", "share", "Its standard error.", "one problem"),
        Row("accuracy_low", "share", "Lower end of its 95 % interval (Wilson)."),
        Row("accuracy_high", "share", "Upper end."),
        Row(
            "pass_at_{k}",
            "share",
            "Chance that one of k answers is right, unbiased: 1 - C(n - c, k) / C(n, k) of c right in n.",
        ),
        Row(
            "maj_at_{k}",
            "share",
            "Problems whose most frequent answer of the k is right; answers vote by their text, ties are shared.",
            "one sample a problem",
        ),
        Row("mean_tokens", "tokens", "Mean length of a completion."),
        Row("mean_tokens_stderr", "tokens", "Its standard error.", "one problem"),
        Row("mean_tokens_correct", "tokens", "Mean length where the answer is right.", "none is right"),
        Row("mean_tokens_wrong", "tokens", "Mean length where it is wrong.", "none is wrong"),
        Row("truncation_rate", "share", "Completions cut at the token limit."),
        Row("ungradable", "share", "Answers on which the grader itself failed."),
        Row("needless_share", "share", "Needless tokens of all tokens; 0 where nothing labels them."),
        Row("budgets", "share", "Budget in tokens -> accuracy if only answers within it counted."),
        Row(
            "budget_area",
            "share",
            "Mean of that accuracy over all budgets up to the token limit: a right answer adds 1 - tokens / limit.",
        ),
        Row("by_source", "table", "Source -> the figures above from `problems` to `truncation_rate`."),
        Row("greedy", "table", "The same of greedy answers.", "`evaluation.greedy` is false"),
    ),
)
"""What an evaluation's table holds."""


def pattern(name: str) -> re.Pattern[str]:
    """What a row's name matches, whole."""
    text = re.escape(name).replace(r"\[helper/\]", "(?:helper/)?")
    for placeholder, values in PLACEHOLDERS.items():
        some = _PATTERNS.get(placeholder) or "|".join(map(re.escape, values))
        text = text.replace(rf"\{{{placeholder}\}}", f"(?:{some})")
    return re.compile(text)


def find(name: str, groups: tuple[Group, ...] = GROUPS) -> Row | None:
    """The row that describes a metric.

    >>> find("score/completions/mean_length").unit
    'tokens'
    >>> find("score/no_such_thing") is None
    True
    """
    return next((row for group in groups for row in group.rows if pattern(row.name).fullmatch(name)), None)
