"""When the monitor would have stopped runs that are there, and what that would have saved.

    python benchmarks/alarms.py runs/recipe/runs

Replays the monitor of this version over the metrics of every run below the folder. A row a run that fell by 5 points or
more, or set an alarm off: the first alarm that says something is being lost, and sampled accuracy on held-out problems
at the start, at the evaluation before the alarm, at the next one, at the end, and at the best, which `run.on_alarm:
rollback` goes back to and `--step best` gives. Runs need evaluations in between (run.eval_steps).
"""

import argparse
import json
from pathlib import Path

from jaxreason.config import load
from jaxreason.rewards.methods import chosen, target_of
from jaxreason.run import held_out_alarm, monitor
from jaxreason.run.on_alarm import ACTED_ON

FALL = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    folders = sorted(file.parent for file in arguments.folder.rglob("metrics.jsonl"))
    rows = [row for folder in folders if (row := of_run(folder))]
    if not folders:
        parser.error(f"{arguments.folder}: expected runs with a metrics.jsonl below it, got none")
    columns = "run", "first alarm", "start", "before it", "after it", "end", "best"
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(f"\n{len(rows)} of {len(folders)} runs; the others neither fell nor set off an alarm.")


def of_run(folder: Path) -> list[str] | None:
    """A row of the table; None where nothing happened, or nothing was evaluated."""
    curve = {step: table["accuracy"] for step, table in evaluations(folder).items()}
    if len(curve) < 2:
        return None
    step, sign = first_alarm(folder)
    if not step and curve[max(curve)] > curve[0] - FALL:
        return None
    before = max((s for s in curve if s <= step), default=None) if step else None
    after = min((s for s in curve if s >= step), default=None) if step else None
    best = max(curve, key=lambda s: curve[s])
    shown = [f"{100 * curve[s]:.1f} at {s}" if s is not None else "–" for s in (0, before, after, max(curve), best)]
    return [folder.name, f"{sign} at {step}" if step else "none", *shown]


def first_alarm(folder: Path) -> tuple[int, str]:
    """Step and letter; 0 where there was none."""
    config = load(folder / "config.yaml")
    target, tables = target_of(chosen(config), config.reward), evaluations(folder)
    state = held_out_alarm.noted({}, 0, tables[0]) if 0 in tables else {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        state, _ = monitor.observe(
            state,
            row,
            config.monitor,
            limit=config.sampling.max_completion_length,
            target=int(row.get("reason/target_length") or target),
        )
        if lost := [sign for sign in state["new"] if sign in ACTED_ON]:
            return row["step"], lost[0][0]
        if row["step"] in tables:
            state = held_out_alarm.noted(state, row["step"], tables[row["step"]])
    return 0, ""


def evaluations(folder: Path) -> dict[int, dict]:
    """Step -> table of the held-out problems."""
    files = sorted((folder / "evaluation").glob("step_*.json"))
    return {int(file.stem.removeprefix("step_")): json.loads(file.read_text())["table"] for file in files}


if __name__ == "__main__":
    main()
