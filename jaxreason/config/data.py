"""Problems, the supervised start, evaluation and the checking of answers."""

import dataclasses
from typing import Literal

from jaxreason.config.doors import SPELLINGS, is_door
from jaxreason.config.require import require


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Problems, and the task they are of."""

    train: str = "builtin"
    """training problems: a JSONL file of {id, question, answer, source, meta}, a folder made by `jaxreason data
    prepare`, or `builtin`: the task's own"""
    test: str = "builtin"
    """held-out problems: a JSONL file, a folder made by `jaxreason data prepare`, or `builtin`: the task's own"""
    task: str = "auto"
    """how problems are asked, read and graded: `math`, answered in a box, or else in words (`the answer is ...`);
    `boxed_math`, in a box only, as published protocols have it; `calculator`; `code`, Python programs graded by running
    tests in a sandbox; or your own as `package.module:name` or `path/file.py:name`; `auto`: calculator where data.train
    is builtin, else math"""
    train_size: int = 20000
    """built-in task: training problems"""
    test_size: int = 504
    """problems held out for evaluation; of a file, its first so many; 0: all"""
    demonstrations: int = 12000
    """built-in task: problems demonstrated to the reasoner for the warm start"""
    helper_demonstrations: int = 4000
    """built-in task: problems demonstrated to the two helpers"""
    seed: int = 0
    """built-in task: seed of the generator"""
    levels: tuple[int, ...] = (1, 2, 3)
    """built-in task: which levels, in equal shares"""
    right_guesses: float = 0.5
    """built-in task: share of the guesses demonstrated that are right; the others are uniform over the wrong digits"""
    checked_guesses: float = 0.45
    """built-in task: share of the guesses that are checked in what the reasoner is shown"""
    prompts_per_step: int = 16
    """problems P in a step"""
    curriculum: Literal["none", "easy_first", "hard_first"] = "none"
    """order of the training problems within each pass through them: `none`, shuffled; `easy_first`, by falling pass
    rate, equal ones shuffled; `hard_first`, by rising. Every problem has its pass_rate in meta, as `jaxreason data
    split MODEL` writes it"""
    target_tokens: tuple[int, int] = (0, 0)
    """every question asks for a number of tokens, drawn between these two ("Think for 60 tokens."), for reward.preset
    l1_exact and l1_max; the column target_tokens of the data (in meta) goes before. [0, 0]: none is asked for"""
    max_prompt_length: int = 48
    """reasoner prompts longer than this many tokens are dropped and counted"""

    def __post_init__(self):
        require(
            self.task in ("auto", "math", "boxed_math", "calculator", "code") or is_door(self.task),
            "data.task",
            f"auto, math, boxed_math, calculator, code, or {SPELLINGS}",
            self.task,
        )
        require(self.prompts_per_step >= 1, "data.prompts_per_step", "at least 1", self.prompts_per_step)
        low, high = self.target_tokens
        require(
            (low, high) == (0, 0) or 1 <= low <= high,
            "data.target_tokens",
            "[0, 0], or two numbers of at least 1, the second no smaller",
            self.target_tokens,
        )
        require(self.max_prompt_length >= 1, "data.max_prompt_length", "at least 1", self.max_prompt_length)
        require(self.test_size >= 0, "data.test_size", "at least 0", self.test_size)
        require(self.seed >= 0, "data.seed", "at least 0", self.seed)
        for name in ("right_guesses", "checked_guesses"):
            require(0 <= getattr(self, name) <= 1, f"data.{name}", "in 0..1", getattr(self, name))
        for name in ("train_size", "demonstrations", "helper_demonstrations"):
            require(getattr(self, name) >= 1, f"data.{name}", "at least 1", getattr(self, name))
        require(
            len(self.levels) == len(set(self.levels)) > 0 and set(self.levels) <= {1, 2, 3},
            "data.levels",
            "some of 1, 2, 3, each once",
            self.levels,
        )


@dataclasses.dataclass(frozen=True)
class WarmupConfig:
    """The supervised start on demonstrations of the three roles."""

    max_steps: int = 0
    """optimiser steps; 0: no supervised start"""
    drill_steps: int = 0
    """the first so many of them on bare equations of the built-in task"""
    result_weight: float = 3.0
    """weight of results (what follows `=`) and of scores, against 1 of other tokens: they hold most of the work"""
    score_labels: Literal["importance", "random"] = "importance"
    """built-in task: what the scorer is shown; `random` numbers teach it the form and leave importance to be learnt"""
    learning_rate: float = 0.01
    """peak learning rate of Muon's matrices"""
    adam_learning_rate: float = 2e-3
    """peak learning rate of everything that is no matrix"""
    rows_per_step: int = 32
    """packed rows in a step"""
    row_length: int = 256
    """tokens of a packed row"""
    weight_decay: float = 0.01
    """decoupled weight decay"""
    chains: int = 0
    """chains of the policy's own, behind the demonstrations if there are some, on which it is taught to split and to
    score, by what its steps contribute (docs/concepts.md); 0: none"""
    chain_epochs: int = 2
    """times that they are shown, in rows of grpo.row_length"""
    chain_learning_rate: float = 1e-5
    """peak learning rate of AdamW on them; adapters (lora.r), which are then what is trained, want ten times that"""

    @property
    def wanted(self) -> bool:
        """Whether there is a supervised start of any kind."""
        return self.max_steps > 0 or self.chains > 0

    def __post_init__(self):
        require(self.chains >= 0, "warmup.chains", "at least 0", self.chains)
        require(self.chain_epochs >= 1, "warmup.chain_epochs", "at least 1", self.chain_epochs)
        require(self.chain_learning_rate > 0, "warmup.chain_learning_rate", "above 0", self.chain_learning_rate)
        require(self.max_steps >= 0, "warmup.max_steps", "at least 0", self.max_steps)
        require(
            0 <= self.drill_steps <= self.max_steps, "warmup.drill_steps", "in 0..warmup.max_steps", self.drill_steps
        )
        require(self.result_weight > 1, "warmup.result_weight", "above 1", self.result_weight)
        require(self.rows_per_step >= 1, "warmup.rows_per_step", "at least 1", self.rows_per_step)
        require(self.row_length >= 2, "warmup.row_length", "at least 2", self.row_length)
        for name in ("learning_rate", "adam_learning_rate"):
            require(getattr(self, name) > 0, f"warmup.{name}", "above 0", getattr(self, name))
        require(self.weight_decay >= 0, "warmup.weight_decay", "at least 0", self.weight_decay)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation on held-out problems."""

    temperature: float = 1.0
    """of the sampled evaluation"""
    top_p: float = 1.0
    """of the sampled evaluation"""
    num_samples: int = 1
    """samples a problem, for Mean@k and Pass@k"""
    max_completion_length: int = 0
    """token limit of evaluations, where rollouts end earlier: only so it is seen what a short limit in training does to
    answers that may be long; 0: sampling.max_completion_length"""
    greedy: bool = True
    """whether to decode greedily as well"""
    budgets: tuple[int, ...] = ()
    """token budgets of the post-hoc accuracy curve; empty: eighths of the limit"""

    def __post_init__(self):
        require(self.num_samples >= 1, "evaluation.num_samples", "at least 1", self.num_samples)
        longest = self.max_completion_length
        require(longest >= 0, "evaluation.max_completion_length", "at least 0", longest)
        require(self.temperature >= 0, "evaluation.temperature", "at least 0", self.temperature)
        require(0 < self.top_p <= 1, "evaluation.top_p", "in (0, 1]", self.top_p)
        require(all(b >= 1 for b in self.budgets), "evaluation.budgets", "numbers of at least 1", self.budgets)


@dataclasses.dataclass(frozen=True)
class GradingConfig:
    """Checking answers on the host."""

    num_workers: int = 1
    """processes for answers that need more than a string comparison; 0: no such grading"""
    timeout_s: float = 3.0
    """seconds before such an answer is given up and counts as wrong"""
    max_failure_rate: float = 0.1
    """the run stops when more than this share of a step's answers could not be graded"""

    def __post_init__(self):
        require(self.num_workers >= 0, "grading.num_workers", "at least 0", self.num_workers)
        require(self.timeout_s > 0, "grading.timeout_s", "above 0", self.timeout_s)
        require(0 <= self.max_failure_rate <= 1, "grading.max_failure_rate", "in [0, 1]", self.max_failure_rate)
