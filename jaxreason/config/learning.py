"""What is rewarded, and how it is learnt."""

import dataclasses
import math
from typing import Literal

from jaxreason.config.doors import SPELLINGS
from jaxreason.config.require import require

MOST_PACKED_ROWS = 32
"""Packed rows of a micro-batch beyond which more gain nothing."""
Correction = Literal["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]
Masking = Literal["all", "-I", "-L&C", "-S&I", "-L&I", "-L&C-S&I", "-L&C-L&I", "-S&I-L&I"]


@dataclasses.dataclass(frozen=True)
class RewardConfig:
    """What is rewarded: R = R_acc - alpha * f(sum phi(w_i) |s_i|), and the other length rewards on the same footing."""

    preset: str = "guarded"
    """the method, such as scma, guarded, lp or truncation (`jaxreason methods` lists all), or a function of your own as
    `package.module:name` or `file.py:name`"""
    options: dict[str, bool | int | float | str] = dataclasses.field(default_factory=dict, hash=False)
    """the method's own fields, such as {weight: 0.4} of kimi"""
    alpha: float = 0.2
    """weight of the length penalty; beside a budget, which moves it, the scale: it is at most 1.5 times this"""
    alpha_warmup_steps: int = 0
    """steps over which alpha rises from 0; not beside a budget, see budget.target_steps"""
    phi: tuple[float, float, float, float, float] = (1.0, 0.75, 0.5, 0.25, 0.0)
    """penalty weight of importance 1 to 5"""
    centred_phi: bool = False
    """subtract the mean phi of the response's chunks and add 0.5, so that scoring everything high gains nothing"""
    normalize_length: Literal["limit", "group_mean"] = "limit"
    """f: `limit` min(1, L / max_completion_length); `group_mean` L / mean |y| of the group"""
    gate: Literal["none", "correct", "among_correct"] = "none"
    """`correct`: wrong answers pay no penalty; `among_correct`: nor are lengths compared with theirs, a right answer's
    counts against those of its group's other right answers, so that no price makes being wrong pay"""
    masking: Masking = "all"
    """completions left out of statistics and loss: S and L at most and above target_length, C and I right and wrong"""
    mask_in_stats: bool = False
    """whether completions that `masking` leaves out of the loss still count in their group's mean and deviation"""
    unit: Literal["tokens", "characters"] = "tokens"
    """what |s_i| counts"""
    invalid_helper: Literal["running_mean", "zero", "full"] = "running_mean"
    """penalised share of |y| where a helper's answer is invalid"""
    format_penalty: float = 1.0
    """what a role loses for an invalid answer of its own"""
    share_format: bool = False
    """whether the format term reaches all roles"""
    contribution_scale: float = 8.0
    """preset `contribution`: nats of contribution from which on a chunk is worth a score of 5"""
    target_length: int = 0
    """L_T of the methods and masks that have a target length; 0: max_completion_length"""
    target_quantile: float = 0.0
    """L_T that follows the policy: this quantile of the right answers' lengths, such as 0.9, with target_length as its
    floor; 0: off"""
    target_window: int = 1
    """steps whose right answers the quantile is of, the one at hand among them"""
    require_eos: bool = True
    """whether an answer cut at the limit counts as wrong"""
    reward_funcs: tuple[str, ...] = ()
    """reward functions of your own, in TRL's form, each as `package.module:name` or `file.py:name`"""
    reward_weights: tuple[float, ...] = ()
    """weight of each of them; empty: 1 each"""
    outcome_weight: float = 1.0
    """weight of the method's own reward beside them; 0: they stand in its place"""
    reward_timeout_s: float = 60.0
    """seconds that one reward function may take for a step's completions"""

    def __post_init__(self):
        require(self.alpha >= 0, "reward.alpha", "at least 0", self.alpha)
        require(self.alpha_warmup_steps >= 0, "reward.alpha_warmup_steps", "at least 0", self.alpha_warmup_steps)
        require(
            all(0 <= p for p in self.phi) and list(self.phi) == sorted(self.phi, reverse=True),
            "reward.phi",
            "five numbers, none negative, none above the one before it",
            self.phi,
        )
        require(self.target_length >= 0, "reward.target_length", "at least 0", self.target_length)
        require(0 <= self.target_quantile <= 1, "reward.target_quantile", "in [0, 1]", self.target_quantile)
        require(self.target_window >= 1, "reward.target_window", "at least 1", self.target_window)
        require(self.contribution_scale > 0, "reward.contribution_scale", "above 0", self.contribution_scale)
        require(self.format_penalty >= 0, "reward.format_penalty", "at least 0", self.format_penalty)
        require(
            not self.mask_in_stats or self.masking != "all",
            "reward.mask_in_stats",
            "false where reward.masking=all leaves nothing out",
            self.mask_in_stats,
        )
        self._check_functions()

    def _check_functions(self):
        doors, weights, outcome = self.reward_funcs, self.reward_weights, self.outcome_weight
        for door in doors:
            require(door.count(":") >= 1, "reward.reward_funcs", f"each {SPELLINGS}", door)
        require(len(set(doors)) == len(doors), "reward.reward_funcs", "each function once", doors)
        require(
            len(weights) in (0, len(doors)),
            "reward.reward_weights",
            f"none or as many as reward.reward_funcs, {len(doors)}",
            weights,
        )
        require(all(map(math.isfinite, weights)), "reward.reward_weights", "finite numbers", weights)
        require(0 <= outcome < math.inf, "reward.outcome_weight", "a number of at least 0", outcome)
        require(outcome > 0 or bool(doors), "reward.outcome_weight", "above 0 without reward.reward_funcs", outcome)
        require(0 < self.reward_timeout_s < math.inf, "reward.reward_timeout_s", "above 0", self.reward_timeout_s)

    @property
    def shape(self) -> "RewardConfig":
        """The reward without the numbers that programs take as arrays, so that one program serves a whole sweep."""
        return dataclasses.replace(
            self, alpha=0.0, alpha_warmup_steps=0, phi=RewardConfig.phi, target_quantile=0.0, target_window=1
        )


@dataclasses.dataclass(frozen=True)
class BudgetConfig:
    """A budget of tokens in place of a fixed alpha: alpha is moved until the mean length meets it."""

    target_tokens: float = 0.0
    """mean tokens of a completion to reach; 0: none"""
    target_reduction: float = 0.0
    """the same as the share of the starting policy's mean tokens to save; 0: none"""
    target_steps: int = 0
    """steps over which the budget comes down from the starting policy's mean tokens; 0: two thirds of run.max_steps"""

    def __post_init__(self):
        tokens, reduction = self.target_tokens, self.target_reduction
        require(tokens == 0 or tokens >= 1, "budget.target_tokens", "0 or at least 1 token", tokens)
        require(0 <= reduction < 1, "budget.target_reduction", "in [0, 1)", reduction)
        require(self.target_steps >= 0, "budget.target_steps", "at least 0", self.target_steps)
        require(not (tokens and reduction), "budget.target_tokens", "0 beside budget.target_reduction", tokens)

    @property
    def wanted(self) -> bool:
        """Whether alpha is moved to reach a length, rather than given."""
        return self.target_tokens > 0 or self.target_reduction > 0


@dataclasses.dataclass(frozen=True)
class GRPOConfig:
    """Group-relative policy optimisation over the rows of all roles."""

    epsilon: float = 0.2
    """how far the ratio may fall below 1"""
    epsilon_high: float = 0.28
    """how far the ratio may rise above 1"""
    beta: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """k3 KL coefficient to the starting policy, for reason, segment, score; annotate has that of score"""
    role_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """weight of each role's loss, for reason, segment, score; annotate has that of score"""
    scale_rewards: Literal["method", "group", "batch", "none"] = "method"
    """divide advantages by the standard deviation of the group, of the batch, or not; `method`: as the source of
    reward.preset does, the group's for most (`jaxreason methods` lists the others)"""
    loss_type: Literal["grpo", "dapo", "dr_grpo", "cispo"] = "grpo"
    """`grpo`: mean over sequences of their token means; `dapo`: mean over tokens; `dr_grpo`: over the token limit;
    `cispo`: mean over tokens, and no token's gradient is clipped away, only its weight to 1 + epsilon_high"""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """the ratio is each token's, or the geometric mean over its sequence (GSPO, which wants epsilons of about 4e-4)"""
    importance_sampling_correction: Correction = "none"
    """what makes up for a sampler that differs from the trainer: the ratio of the two, by token or over the sequence,
    `truncate`d to the clips or `mask`ed outside them, weighs each token's loss"""
    importance_sampling_clip_min: float = 0.0
    """lower clip of the correction"""
    importance_sampling_clip_max: float = 3.0
    """upper clip of the correction"""
    credit: Literal["sequence", "chunk"] = "sequence"
    """`sequence`: one advantage for all of a chain (the papers); `chunk`: the length term's on the chunk that caused
    it"""
    mask_truncated_completions: bool = False
    """leave completions cut at the limit out of statistics and loss"""
    dynamic_sampling: bool = False
    """replace groups whose answers are all right or all wrong by those of further problems, before helpers are asked
    (DAPO)"""
    max_num_gen_batches: int = 10
    """dynamic sampling: how often a step may sample, its first batch counted; then groups without spread stay in"""
    num_mini_batches: int = 1
    """optimiser steps a rollout batch, each on its share of the problems"""
    micro_batch_rows: int | Literal["auto"] = "auto"
    """packed rows of row_length differentiated at a time, twice as many of half rows; gradients accumulate. `auto`: the
    largest power of 2 that memory holds, at most 32"""
    row_length: int = 256
    """tokens of a packed row; at least the longest prompt and completion of any role"""

    def __post_init__(self):
        require(0 <= self.epsilon < 1, "grpo.epsilon", "in [0, 1)", self.epsilon)
        require(self.epsilon_high >= 0, "grpo.epsilon_high", "at least 0", self.epsilon_high)
        require(all(b >= 0 for b in self.beta), "grpo.beta", "numbers of at least 0", self.beta)
        require(
            all(w >= 0 for w in self.role_weights) and sum(self.role_weights) > 0,
            "grpo.role_weights",
            "numbers of at least 0, not all 0",
            self.role_weights,
        )
        low, high = self.importance_sampling_clip_min, self.importance_sampling_clip_max
        require(0 <= low <= 1, "grpo.importance_sampling_clip_min", "in [0, 1]", low)
        require(1 <= high < math.inf, "grpo.importance_sampling_clip_max", "at least 1", high)
        most = self.max_num_gen_batches
        require(most >= 1, "grpo.max_num_gen_batches", "at least 1", most)
        require(self.num_mini_batches >= 1, "grpo.num_mini_batches", "at least 1", self.num_mini_batches)
        rows = self.micro_batch_rows
        require(rows == "auto" or rows >= 1, "grpo.micro_batch_rows", "auto or at least 1", rows)
        require(self.row_length >= 2, "grpo.row_length", "at least 2", self.row_length)

    @property
    def packed_rows(self) -> int:
        """micro_batch_rows in numbers; MOST_PACKED_ROWS while it is `auto`."""
        return MOST_PACKED_ROWS if self.micro_batch_rows == "auto" else self.micro_batch_rows


def of_each_role(values: tuple[float, float, float]) -> tuple[float, float, float, float]:
    """Values for reason, segment and score in the order of role ids: a helper that does both has the scorer's."""
    return (*values, values[-1])


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, built from optax."""

    learning_rate: float = 1e-6
    """peak learning rate"""
    warmup_steps: int = 10
    """steps of linear rise"""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "constant"
    """what follows the rise; linear and cosine end at 0"""
    adam_beta1: float = 0.9
    """decay of the first moment"""
    adam_beta2: float = 0.999
    """decay of the second moment"""
    adam_epsilon: float = 1e-8
    """epsilon of AdamW"""
    weight_decay: float = 0.0
    """decoupled weight decay"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this global norm; 0: never"""

    def __post_init__(self):
        require(self.learning_rate >= 0, "optimizer.learning_rate", "at least 0", self.learning_rate)
        require(self.warmup_steps >= 0, "optimizer.warmup_steps", "at least 0", self.warmup_steps)
        for name in ("adam_beta1", "adam_beta2"):
            require(0 <= getattr(self, name) < 1, f"optimizer.{name}", "in [0, 1)", getattr(self, name))
        require(self.adam_epsilon > 0, "optimizer.adam_epsilon", "above 0", self.adam_epsilon)
        require(self.weight_decay >= 0, "optimizer.weight_decay", "at least 0", self.weight_decay)
        require(self.max_grad_norm >= 0, "optimizer.max_grad_norm", "at least 0", self.max_grad_norm)
