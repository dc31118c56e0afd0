"""The folder of a run that is finished, written by hand."""

import json

import pytest
import yaml

from tests.report.folders import completion, estimate, lines, metric_row, table


@pytest.fixture
def make(tmp_path):
    """Write the folder of a finished run; `text` is what the policy wrote everywhere."""

    def build(name="run", *, text="1+1=2", num_steps=12):
        folder = tmp_path / name
        for part in ("samples", "evaluation"):
            (folder / part).mkdir(parents=True)
        config = {
            "run": {"seed": 3, "max_steps": num_steps},
            "reward": {"preset": "guarded", "alpha": 0.5, "require_eos": True},
            "monitor": {"inflation_gap": 0.1},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        env = {
            "started": "2026-01-02T03:04:05+00:00",
            "command": ["jaxreason", "train", "configs/x.yaml"],
            "git": {"sha": "abcdef0123456789", "dirty": True},
            "devices": {"kind": "TPU v5e", "count": 8, "processes": 2},
            "versions": {"jax": "0.10.2"},
        }
        (folder / "env.json").write_text(json.dumps(env))
        (folder / "metrics.jsonl").write_text(lines(metric_row(step) for step in range(1, num_steps + 1)))
        for step in (0, num_steps):
            rows = [completion(n, f"{text} at {step}", mode=mode) for mode in ("sampled", "greedy") for n in range(4)]
            (folder / f"evaluation/step_{step:06d}.jsonl").write_text(lines(rows))
            found = {"table": table(0.61, 95.37), "answers": {}}
            (folder / f"evaluation/step_{step:06d}.json").write_text(json.dumps(found))
        sample = {"chunks": [f"{text} first\n", "second\n"], "chunk_lengths": [7, 4], "scores": [5, 1]}
        for step in range(1, num_steps + 1):
            rows = [completion(n, text, rewards={"reason": 0.25}, **sample) for n in (0, 1)]
            (folder / f"samples/step_{step:06d}.jsonl").write_text(lines(rows))
        change = {
            "accuracy": estimate(0.0234, 0.0111),
            "tokens": estimate(-39.0, 2.0),
            "tokens_relative": estimate(-0.4123, 0.0222),
        }
        results = {
            "base": table(0.61, 95.37),
            "trained": table(0.6334, 56.04),
            "change": {"sampled": change, "greedy": change},
            "steps": num_steps,
            "problems": 4,
            "seconds": 7200.0,
            "preset": "guarded",
            "seed": 3,
        }
        (folder / "results.json").write_text(json.dumps(results))
        return folder

    return build
