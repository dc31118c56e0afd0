"""What a step leaves behind: its row with the monitor's warnings, written down and shown."""

from collections.abc import Callable

from jaxreason.config import Config
from jaxreason.rewards import budget
from jaxreason.rewards.methods import chosen, scale_of, target_of
from jaxreason.run import metrics as step_metrics
from jaxreason.run import monitor
from jaxreason.run.folder import RunFolder
from jaxreason.run.progress import Display


def record_step(
    number: int, row: dict, memory: dict, config: Config, folder: RunFolder, display: Display, advance: Callable
) -> dict:
    """Look at a step's row, write it down with the warnings, and show it; the monitor's memory after the step."""
    stage, rollbacks = memory.get("stage", 1), memory.get("rollbacks", [])
    memory, warnings = monitor.observe(
        memory,
        {"step": number} | row,
        config.monitor,
        limit=config.sampling.max_completion_length,
        target=int(row.get("reason/target_length", target_of(chosen(config), config.reward))),
        ceiling=budget.ceiling(config.reward.alpha),
        scaled=scale_of(chosen(config), config.grpo) == "group" and row["alpha"] > 0,
    )
    if rollbacks:
        memory["rollbacks"] = rollbacks
    row |= {"warnings": warnings, "alarms": memory["new"], "stage": memory.get("stage"), "rollbacks": len(rollbacks)}
    folder.write_metrics(number, row)
    advance(1, note=step_metrics.note(row) + (f"  {folder.trouble}" if folder.trouble else ""))
    for line in [*warnings, *([f"step {number}: {folder.trouble}"] if folder.trouble else [])]:
        display.warn(line)
    if memory.get("stage", 1) > stage:
        display.say(
            f"step {number}: second stage: the length has settled at {row['reason/completions/mean_length']:.0f} "
            "tokens, and from here accuracy should recover or rise at that length"
        )
    return memory
