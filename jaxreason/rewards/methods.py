"""The methods, one row each: which length reward, what is charged, who helps, and which term reaches which role.

A new method is a function in one of the `length` files and a row here; one of your own needs neither: name it by its
path, `reward.preset: my_file.py:my_method`, where it is a function like those of `length.py`, or a whole `Method`.

A shared reward invites the scorer to call everything important, which lowers everybody's penalty; `guarded` and
`contribution` therefore keep both the length term and the outcome away from the helpers. Under `guarded` the scorer
stays what it was at the start, under `contribution` it learns what a chunk is good for.
"""

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from jaxreason.config import Config, GRPOConfig, RewardConfig
from jaxreason.rewards import length
from jaxreason.rewards import length_adaptive as adaptive
from jaxreason.rewards import length_asked as asked
from jaxreason.rewards import length_relative as relative
from jaxreason.rewards.length import Completions, LengthMethod, LengthReward
from jaxreason.rewards.length_adaptive import COVERAGE, HISTORY, Memory
from jaxreason.rewards.length_asked import CONCISE

Reads = Literal["progress", "asked", "answer_at", "prefix_end", "repeats", "teacher"]
"""Parts of `Moment` that cost something to find out, or that data must bring; what is behind y comes with answer_at and
prefix_end."""


@dataclasses.dataclass(frozen=True)
class Terms:
    """Weights of the terms in one role's reward; the length's cost is multiplied by -alpha."""

    outcome: float = 0.0
    """of what the length method rewards"""
    penalty: float = 0.0
    """of -alpha times its cost"""
    format: float = 0.0
    """of the role's own format term"""
    agreement: float = 0.0
    """of the agreement with the frozen scorer"""
    contribution: float = 0.0
    """of the agreement with what the chunks measurably contribute; where decoding is constrained, the advantage of the
    right scores instead, which the scorer is shown: see `jaxreason/agents/lessons.py`"""


@dataclasses.dataclass(frozen=True)
class Method:
    """One method. Hashable, so it can be a static argument."""

    length: LengthMethod
    """from completions to rewards and costs"""
    summary: str
    """what it is, in a line"""
    source: str
    """where it comes from"""
    terms: Mapping[str, Terms] = dataclasses.field(hash=False)
    """role -> weights; a role that is not here is not updated"""
    priced: bool = False
    """whether its length has a cost that alpha weighs"""
    charged: Literal["y", "chunks"] = "y"
    """what the cost counts: the reasoning text, or its chunks weighted by their importance"""
    helpers: Literal["none", "train", "frozen"] = "none"
    """who splits and scores; `frozen`: the helpers are sampled from the starting policy and not updated"""
    shuffle_scores: bool = False
    """whether scores are permuted inside each response before they weigh anything"""
    scale: Literal["group", "batch", "none"] = "group"
    """what its source divides advantages by, for grpo.scale_rewards=method"""
    reads: tuple[Reads, ...] = ()
    """what its length method reads of the moment"""
    memory: Memory | None = None
    """what it remembers between steps, which its length method reads as `moment.memory`"""

    curriculum: bool = False
    """whether grpo.dynamic_sampling lets in groups that are all right, as many as right answers have lost of what they
    did not need, see `run.remember.easy_share`"""

    @property
    def labelled(self) -> bool:
        """Whether chunks come from the labels of the task."""
        return self.charged == "chunks" and self.helpers == "none"

    @property
    def measured(self) -> bool:
        """Whether somebody is paid by what chunks contribute."""
        return any(terms.contribution for terms in self.terms.values())

    @property
    def agrees(self) -> bool:
        """Whether somebody is paid for agreeing with a yardstick of scores."""
        return any(terms.agreement or terms.contribution for terms in self.terms.values())

    def judge(self, seen: Completions, config: RewardConfig) -> LengthReward:
        """The length method with its fields filled in."""
        fields = fields_of(self, config)
        if "target_length" in fields and seen.moment.target is not None:
            fields["target_length"] = seen.moment.target
        found = self.length(seen, **fields)
        return found if isinstance(found, LengthReward) else LengthReward(found)


_ALONE = {"reason": Terms(outcome=1.0)}
_PRICED = {"reason": Terms(outcome=1.0, penalty=1.0)}
_SHARED = Terms(outcome=1.0, penalty=1.0, format=1.0)
_GUARDED = _PRICED | {"segment": Terms(format=1.0), "score": Terms(format=1.0, agreement=1.0)}
_CHUNKS: dict[str, Any] = {"priced": True, "charged": "chunks"}
_SCMA, _ART = "arXiv:2601.21919", "arXiv:2602.20945"

METHODS: dict[str, Method] = {
    # The reasoner has no format term of its own: its answer parser is the format.
    "scma": Method(
        length.penalty, "importance-weighted chunks; one reward shared by all three roles", _SCMA,
        _PRICED | {"segment": _SHARED, "score": _SHARED}, helpers="train", **_CHUNKS,
    ),
    "guarded": Method(
        length.penalty, "the same penalty; helpers are paid for form and for agreeing with the frozen scorer", "ours",
        _GUARDED, helpers="train", **_CHUNKS,
    ),
    "contribution": Method(
        length.penalty, "the same penalty; the scorer learns what cutting a chunk out costs the text behind it", "ours",
        _GUARDED | {"score": Terms(format=1.0, contribution=1.0)}, helpers="train", **_CHUNKS,
    ),
    "frozen": Method(
        length.penalty, "the same penalty; the helpers stay as they were", "control",
        _PRICED, helpers="frozen", **_CHUNKS,
    ),
    "shuffled": Method(
        length.penalty, "guarded with the scores of a chain permuted", "control",
        _GUARDED, helpers="train", shuffle_scores=True, **_CHUNKS,
    ),
    "oracle": Method(
        length.penalty, "the same penalty; importance from the task's own labels", "control", _PRICED, **_CHUNKS,
    ),
    "lp": Method(length.penalty, "the plain length penalty", _SCMA, _PRICED, priced=True),
    "truncation": Method(length.truncation, "a right answer counts up to target_length", f"{_ART}, eq. 2", _ALONE),
    "dler": Method(
        length.truncation, "truncation, over the spread of the batch",
        "arXiv:2510.15110; that of rewards, as in TRL, where it takes that of advantages", _ALONE, scale="batch",
    ),
    "think_prune": Method(
        adaptive.think_prune, "truncation at a limit that falls in stages", "arXiv:2504.01296", _ALONE,
        reads=("progress",),
    ),
    "kimi": Method(length.kimi, "a bonus for being short within the group", "arXiv:2501.12599", _ALONE),
    "laser": Method(length.laser, "a bonus for right answers below target_length", "arXiv:2505.15612", _ALONE),
    "laser_d": Method(length.laser_d, "laser, and wrong answers are paid for length", f"{_ART}, eq. 6", _ALONE),
    "laser_d_dynamic": Method(
        adaptive.laser_d_dynamic, "laser with a target for each difficulty, found on the way",
        "arXiv:2505.15612; found on training answers, not on a set apart", _ALONE, memory=COVERAGE,
    ),
    "laser_de": Method(
        adaptive.laser_de, "laser_d_dynamic, and long wrong answers are paid unless they repeat",
        "arXiv:2505.15612; the rule of what repeats is ours", _ALONE, reads=("repeats",), memory=COVERAGE,
    ),
    "l1_exact": Method(
        asked.l1_exact, "as many tokens as the prompt asks for", "arXiv:2503.04697", _ALONE, reads=("asked",)
    ),
    "l1_max": Method(
        asked.l1_max, "at most as many tokens as the prompt asks for", "arXiv:2503.04697", _ALONE, reads=("asked",)
    ),
    "tlmre": Method(
        relative.tlmre, "right answers pay for length standardised among themselves", "arXiv:2502.04463", _ALONE,
        scale="none",
    ),
    "group_zscore": Method(
        relative.group_zscore, "right answers scaled by length standardised among themselves",
        "GRPO-LEAD, arXiv:2504.09696, as in TRL #6221", _ALONE,
    ),
    "o1_pruner": Method(
        relative.o1_pruner, "shorter than the group's mean at no lower accuracy",
        "arXiv:2501.12570; online, against the group", _ALONE, scale="batch",
    ),
    "shorter_better": Method(
        relative.shorter_better, "as long as the group's shortest right answer", "arXiv:2504.21370", _ALONE
    ),
    "hapo": Method(
        adaptive.hapo, "shorter than the problem's shortest right answer so far", "arXiv:2505.11225", _ALONE,
        memory=HISTORY,
    ),
    "dast": Method(
        relative.dast, "within a budget that grows with difficulty",
        "arXiv:2503.04472, where it ranks pairs; from a description", _ALONE,
    ),
    "alp": Method(
        relative.alp, "a length penalty that grows with the pass rate",
        "arXiv:2506.05256; alpha is its beta, whose value was not found", _PRICED, priced=True,
    ),
    "linear_pass_rate": Method(
        relative.linear_pass_rate, "length by the group's longest answer, times the pass rate", "prime-rl #2901",
        _ALONE, scale="none",
    ),
    "gr3": Method(relative.gr3, "the reward divided by relative length", "arXiv:2603.10535, as in prime-rl", _ALONE),
    "drpo": Method(
        relative.drpo, "right answers share what wrong ones lose, the short ones more",
        "arXiv:2510.04474; wrong answers weighted alike, clip for its KL constraint", _ALONE, scale="none",
    ),
    "smart_thinker": Method(
        relative.smart_thinker, "right answers above the most promising length pay", "arXiv:2603.08000", _ALONE
    ),
    "cosine": Method(length.cosine, "length along a cosine, for right and for wrong", "arXiv:2502.03373", _ALONE),
    "gfpo": Method(relative.gfpo, "only the shortest of a group are learnt from", "arXiv:2508.09726", _ALONE),
    "lc_r1": Method(
        asked.lc_r1, "relative length, and closing the thought where the answer stands",
        "arXiv:2506.14755; the answer's place for its extractor, text not trimmed", _ALONE, scale="none",
        reads=("answer_at",),
    ),
    "decs": Method(
        asked.decs, "tokens behind the chunk that first holds the answer earn less, compared by position",
        "arXiv:2509.25827; the chunk found by the answer's text in place of a judge", _ALONE, reads=("prefix_end",),
        curriculum=True,
    ),
    "crisp": Method(
        asked.crisp, "writes as it would if told to be concise; no answers needed",
        "arXiv:2603.05433; the divergence by sampled tokens", _ALONE, reads=("teacher",),
    ),
    "dapo_overlong": Method(length.overlong, "a soft penalty near the token limit", "arXiv:2503.14476, eq. 13", _ALONE),
    "grpo": Method(length.outcome, "the outcome alone, no length term", "arXiv:2402.03300", _ALONE),
}  # fmt: skip


def chosen(config: Config) -> Method:
    """The configuration's method. A helper that segments and scores has the scorer's terms, its form that of both.

    Raises:
      ValueError: no such method, or a setting that it cannot work with; the field, and what was expected.
    """
    method = named(config.reward.preset)
    _check(method, config)
    if config.agents.helpers == "two" or "score" not in method.terms:
        return method
    return dataclasses.replace(method, terms={"reason": method.terms["reason"], "annotate": method.terms["score"]})


def named(name: str) -> Method:
    """A method by its row, or by the path of a function or a `Method` of the user's own.

    Raises:
      ValueError: no such row (the nearest is named), or nothing of the kind at that path.
    """
    if name in METHODS:
        return METHODS[name]
    if ":" not in name:
        near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.5)
        raise ValueError(
            f"reward.preset: expected one of {', '.join(METHODS)}, or a function as file.py:name, got {name!r}"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    from jaxreason.config import doors

    value = doors.load(name, "reward.preset").value
    if isinstance(value, Method):
        return value
    if not callable(value):
        raise ValueError(f"reward.preset: expected a function or a Method at {name}, got {type(value).__name__}")
    summary = next(iter((inspect.getdoc(value) or name).splitlines()), name)
    function: Any = value
    return Method(function, summary, name, _PRICED, priced=True)


def own_fields(method: Method) -> dict[str, Any]:
    """The fields that only this method has, which `reward.options` sets, with their defaults (None: it has none)."""
    shared = {f.name for f in dataclasses.fields(RewardConfig)}
    parameters = inspect.signature(method.length).parameters.values()
    return {
        p.name: None if p.default is p.empty else p.default
        for p in parameters
        if p.kind is p.KEYWORD_ONLY and p.name not in shared
    }


def fields_of(method: Method, config: RewardConfig) -> dict[str, Any]:
    """What a method's keyword-only parameters are filled with: fields of `reward` by their names, and its options.

    Raises:
      ValueError: an option that the method has not, or one that is missing.
    """
    parameters = [p for p in inspect.signature(method.length).parameters.values() if p.kind is p.KEYWORD_ONLY]
    shared = {f.name for f in dataclasses.fields(RewardConfig)}
    own = own_fields(method)
    for name in config.options:
        if name not in own:
            raise ValueError(
                f"reward.options.{name}: expected "
                + (f"one of {', '.join(own)}" if own else "none")
                + f" with reward.preset={config.preset}, got {name}"
            )
    if missing := [p.name for p in parameters if p.default is p.empty and p.name not in {*shared, *config.options}]:
        raise ValueError(f"reward.options.{missing[0]}: expected a value, since {config.preset} has no default for it")
    return {p.name: getattr(config, p.name) for p in parameters if p.name in shared} | dict(config.options)


class Teacher(NamedTuple):
    """The teacher of a method that reads one."""

    instruction: str
    """what stands behind the question in its prompt"""
    refresh: int
    """steps from which on it is the policy anew; 0: it stays as at the start"""


def teacher_of(config: Config) -> Teacher | None:
    """The teacher of the configuration's method; None for one that reads none."""
    method = named(config.reward.preset)
    if "teacher" not in method.reads:
        return None
    options: dict[str, Any] = own_fields(method) | dict(config.reward.options)
    return Teacher(options.get("instruction", CONCISE), options.get("refresh", 0))


def scale_of(method: Method, grpo: GRPOConfig) -> Literal["group", "batch", "none"]:
    """grpo.scale_rewards; where it says `method`, what the method's source divides advantages by."""
    return method.scale if grpo.scale_rewards == "method" else grpo.scale_rewards


def has_target(method: Method, config: RewardConfig) -> bool:
    """Whether a method or its masks compare completions with a target length."""
    return config.masking not in ("all", "-I") or "target_length" in inspect.signature(method.length).parameters


def target_of(method: Method, config: RewardConfig) -> int:
    """The target length that completions are compared with, in tokens, its floor where it follows the policy; 0: none
    was set."""
    return config.target_length if has_target(method, config) else 0


def _check(method: Method, config: Config) -> None:
    reward = config.reward
    fields_of(method, reward)
    if method.agrees and reward.format_penalty < 1:
        raise ValueError(
            f"reward.format_penalty: expected at least 1 with preset {reward.preset}, or an invalid score would beat "
            f"one that disagrees, got {reward.format_penalty}"
        )
    if reward.target_quantile and not has_target(method, reward):
        raise ValueError(
            f"reward.target_quantile: expected 0 with reward.preset={reward.preset}, which has no target length, got "
            f"{reward.target_quantile}; take truncation, laser or another with target_length, or set reward.masking"
        )
    sampling = config.sampling
    if "teacher" in method.reads and (sampling.top_p < 1 or sampling.top_k or sampling.min_p):
        raise ValueError(
            f"sampling.top_p, top_k, min_p: expected none with reward.preset={reward.preset}, whose teacher may hold "
            f"impossible what the policy sampled, got {sampling.top_p}, {sampling.top_k}, {sampling.min_p}"
        )
    teacher = teacher_of(config)
    if teacher and reward.reward_funcs:
        raise ValueError(
            f"reward.reward_funcs: expected none with reward.preset={reward.preset}, which learns from its teacher and "
            f"not from rewards, got {', '.join(reward.reward_funcs)}"
        )
    if teacher and not teacher.instruction:
        raise ValueError(
            f"reward.options.instruction: expected a sentence for the teacher of reward.preset={reward.preset}, got "
            "none: without it teacher and policy are the same"
        )
    if teacher and not (isinstance(teacher.refresh, int) and teacher.refresh >= 0):
        raise ValueError(f"reward.options.refresh: expected a number of steps, or 0, got {teacher.refresh!r}")
    if config.budget.wanted and not method.priced:
        raise ValueError(
            "reward.preset: expected one that penalises length by alpha, since a target is set, got "
            f"{reward.preset!r}; leave out the target, or take lp"
        )
    if config.agents.separate and method.helpers == "none":
        raise ValueError(
            f"agents.helper_policy: expected shared with reward.preset={reward.preset}, which asks no helper, "
            "got separate; change either"
        )
