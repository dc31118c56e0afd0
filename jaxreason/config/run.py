"""Where a run goes, how long it lasts, and what it watches."""

import dataclasses
from typing import Literal

from jaxreason.config.require import require


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Where a run goes and how long it lasts."""

    output_dir: str = "runs/default"
    """folder of the run"""
    seed: int = 0
    """every random number of the run comes from this"""
    max_steps: int = 100
    """GRPO steps"""
    staleness: int = 0
    """steps by which the policy that samples the reasoner may be behind the one that learns. 1: a step's completions
    are begun while the step before is graded, so that the device does not wait for the host; the loss and
    grpo.importance_sampling_correction see the log-probabilities of the policy that sampled"""
    eval_steps: int = 0
    """evaluate every so many steps; 0: only before and after"""
    save_steps: int = 20
    """checkpoint every so many steps; 0: only at the end"""
    save_total_limit: int = 2
    """checkpoints to keep"""
    keep_best: bool = True
    """keep the policy of the best evaluation besides: highest sampled accuracy, then fewest tokens"""
    logging_steps: int = 1
    """a plain log line every so many steps where the output is no terminal"""
    log_completions: int = 2
    """problems a step whose completions of every role are kept in samples/"""
    profile_steps: tuple[int, ...] = ()
    """steps to trace for xprof, counted from 1; the first ones hold compiling"""
    report_to: tuple[Literal["jsonl", "tensorboard", "wandb", "trackio"], ...] = ("jsonl", "tensorboard")
    """where metrics go; metrics.jsonl is always written, and wandb and trackio want their packages"""
    on_alarm: Literal["warn", "stop", "rollback"] = "warn"
    """what follows when something is being lost (alarms A, E, F and G, and D at twice the entropy): `warn` alone;
    `stop`, evaluate and end; `rollback`, back to the policy of the best evaluation, and on with half of reward.alpha,
    or of the learning rate where length has no price or answers become random, so that what a run ends with is never
    worse than an evaluation before"""
    max_rollbacks: int = 2
    """times that a run goes back and on; the alarm after them takes it back once more and ends it"""
    accept_changed_doors: bool = False
    """go on with a run although code of your own that it is made with has changed since; recorded in its doors.json"""
    compilation_cache_dir: str = "~/.cache/jaxreason/xla"
    """JAX's persistent compilation cache; empty: off"""

    def __post_init__(self):
        require(self.max_steps >= 0, "run.max_steps", "at least 0", self.max_steps)
        require(self.staleness in (0, 1), "run.staleness", "0 or 1", self.staleness)
        require(self.save_total_limit >= 1, "run.save_total_limit", "at least 1", self.save_total_limit)
        require(self.max_rollbacks >= 1, "run.max_rollbacks", "at least 1", self.max_rollbacks)
        require(
            self.on_alarm != "rollback" or (self.keep_best and self.eval_steps > 0),
            "run.on_alarm",
            "stop, or rollback with run.keep_best and run.eval_steps above 0, whose best policy is gone back to",
            self.on_alarm,
        )
        require(self.logging_steps >= 1, "run.logging_steps", "at least 1", self.logging_steps)
        require(all(step >= 1 for step in self.profile_steps), "run.profile_steps", "1 or above", self.profile_steps)
        for name in ("eval_steps", "save_steps", "log_completions"):
            require(getattr(self, name) >= 0, f"run.{name}", "at least 0", getattr(self, name))


@dataclasses.dataclass(frozen=True)
class MonitorConfig:
    """Signs of trouble; they warn, and change a run only where run.on_alarm says so."""

    inflation_gap: float = 0.5
    """warn when the live scorer is this much above the frozen one, in points, on the same text"""
    window: int = 20
    """steps over which signs are averaged"""

    def __post_init__(self):
        require(self.inflation_gap > 0, "monitor.inflation_gap", "above 0", self.inflation_gap)
        require(self.window >= 1, "monitor.window", "at least 1", self.window)
