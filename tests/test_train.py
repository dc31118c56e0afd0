"""The whole method at a size of seconds, through the command a user types."""

import json

import pytest

from jaxreason import config
from jaxreason.agents.roles import REASON, SCORE, SEGMENT
from jaxreason.rewards.methods import METHODS
from tests import runs


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


def test_a_run_leaves_what_its_page_promises(warm, tmp_path, capsys):
    """Every file of the run folder, figures in results.json, a table and the places on the screen."""
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder) == 0
    screen = capsys.readouterr()
    assert screen.err == ""
    found = json.loads((folder / "results.json").read_text())
    for policy in ("base", "trained"):
        for table in (found[policy], found[policy]["greedy"], found[policy]["by_source"]["arithmetic/level1"]):
            assert table["problems"] == 16
            assert 0 <= table["accuracy_low"] <= table["accuracy"] <= table["accuracy_high"] <= 1
            assert 0 < table["mean_tokens"] <= 48
    assert found["steps"] == found["steps_this_launch"] == 4
    assert set(found["change"]) == {"sampled", "greedy"}
    for name in ("results.json", "metrics.jsonl", "samples", "tensorboard --logdir", "report.html"):
        assert name in screen.out
    assert "sampled all" in screen.out
    assert [row["step"] for row in runs.rows(folder)] == [1, 2, 3, 4]
    assert sorted(p.name for p in (folder / "checkpoints").iterdir() if p.name.isdigit()) == ["2", "4"]
    for name in (
        "report.html",
        "config.yaml",
        "env.json",
        "tb",
        "samples/step_000004.jsonl",
        "evaluation/step_000004.jsonl",
    ):
        assert (folder / name).exists(), name
    assert config.load(folder / "config.yaml").run.output_dir == str(folder)


PLAIN = {"lp", "truncation", "gfpo", "grpo"}
"""One of each kind of method whose length reward is a function of one step's arrays alone; the others are tested as
functions."""
KINDS = [name for name, m in METHODS.items() if name in PLAIN or m.charged == "chunks" or m.reads or m.memory]


@pytest.mark.parametrize("decoding", ["constrained", "free"])
@pytest.mark.parametrize("preset", KINDS)
def test_every_kind_of_preset_trains_with_either_decoding(warm, tmp_path, preset, decoding):
    """Two steps: the second one starts from what the first returned, and uses what it donated."""
    if decoding == "free" and METHODS[preset].helpers == "none":
        pytest.skip("no helper decodes")
    folder = runs.begin(warm, tmp_path / "run")
    arguments = [f"--reward.preset={preset}", f"--agents.decoding={decoding}", "--run.max_steps=2"]
    if "asked" in METHODS[preset].reads:
        arguments += ["--data.target_tokens=[10, 30]", "--data.max_prompt_length=100"]
    assert runs.train(folder, *arguments) == 0
    found = runs.rows(folder)
    assert [row["step"] for row in found] == [1, 2]
    for row in found:
        assert row["loss"] is not None
        if row["reason/frac_reward_zero_std"] < 1:
            assert row["grad_norm"] > 0
            assert row["reason/entropy"] > 0
        asked = {name.split("/")[0] for name in row if name.endswith("/completions/mean_length")}
        assert asked == (
            {REASON.name} if METHODS[preset].helpers == "none" else {REASON.name, SEGMENT.name, SCORE.name}
        )
        learning = {role for role in asked if row.get(f"{role}/reward") is not None}
        assert learning <= set(METHODS[preset].terms)
    answers = [json.loads(line) for line in (folder / "evaluation" / "step_000002.jsonl").read_text().splitlines()]
    assert len([row for row in answers if "chunks" in row]) == (0 if METHODS[preset].helpers == "none" else 32)


@pytest.mark.slow
def test_a_run_is_a_function_of_its_seed(warm, tmp_path):
    """Randomness that is not derived from the seed and the step would show here, and would break resuming."""
    first, again, other = (runs.begin(warm, tmp_path / name) for name in ("first", "again", "other"))
    assert runs.train(first, "--run.max_steps=2") == 0
    assert runs.train(again, "--run.max_steps=2") == 0
    assert runs.train(other, "--run.max_steps=2", "--run.seed=1") == 0
    assert runs.rows(first) == runs.rows(again)
    assert runs.rows(first) != runs.rows(other)
