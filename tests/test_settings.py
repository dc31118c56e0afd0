"""Settings that change what a step does, through two whole steps of a tiny run."""

import itertools
import json
import math
import re

import numpy as np
import pytest

from jaxreason import cli
from jaxreason.evaluation import loop
from jaxreason.run import helper_lessons
from jaxreason.run.best import best_step
from tests import runs
from tests.helpers import TOLERANCE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


QUICKSTART = [
    "--grpo.scale_rewards=none",
    "--grpo.loss_type=dapo",
    "--reward.alpha=2.5",
    "--reward.alpha_warmup_steps=2",
    "--reward.gate=among_correct",
    "--optimizer.lr_scheduler_type=linear",
]


@pytest.mark.parametrize(
    "settings",
    [
        [
            "--model.dtype=bfloat16",
            "--grpo.beta=[0.01, 0.01, 0.01]",
            "--grpo.num_mini_batches=2",
            "--grpo.mask_truncated_completions=true",
        ],
        [
            "--reward.invalid_helper=full",
            "--agents.decoding=free",
            "--reward.share_format=true",
            "--reward.unit=characters",
            "--reward.normalize_length=group_mean",
            "--reward.centred_phi=true",
            "--grpo.credit=chunk",
        ],
        QUICKSTART,
        [
            "--model.dtype=bfloat16",
            "--grpo.loss_type=cispo",
            "--grpo.importance_sampling_correction=token_truncate",
            "--grpo.num_mini_batches=2",
        ],
        ["--grpo.importance_sampling_level=sequence", "--grpo.importance_sampling_correction=sequence_mask"],
    ],
    ids=["programs", "rewards", "quickstart", "cispo and a correction", "sequences"],
)
def test_settings_train(warm, tmp_path, settings):
    """Catches a branch of a step that only such a setting takes and that breaks on real shapes.

    None of those in one run takes another's branch away.
    """
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, "--run.max_steps=2", *settings) == 0
    for row in runs.rows(folder):
        assert row["not_finite"] == 0
        assert row["loss"] is not None
        assert np.isfinite(row["reason/reward"])


def test_a_correction_changes_nothing_where_sampler_and_trainer_agree(warm, tmp_path):
    """On CPU in float32 they do, to rounding. Catches a ratio between other rows, or under another filter."""
    plain, corrected = (runs.begin(warm, tmp_path / name) for name in ("plain", "corrected"))
    assert runs.train(plain, "--run.max_steps=1") == 0
    assert runs.train(corrected, "--run.max_steps=1", "--grpo.importance_sampling_correction=sequence_truncate") == 0
    (row,), (expected,) = runs.rows(corrected), runs.rows(plain)
    updated = [role for role in ("reason", "segment", "score") if row[f"{role}/entropy"] is not None]
    assert len(updated) > 1
    for role in updated:
        assert row[f"{role}/sampling/importance_sampling_ratio/max"] == pytest.approx(1.0, abs=1e-3)
        assert row[f"{role}/sampling/effective_sample_size"] == pytest.approx(1.0, abs=1e-6)
    for name in ("loss", "grad_norm", "reason/entropy"):
        assert row[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-6)


def test_helpers_are_taught_on_own_chains(tmp_path, capsys, monkeypatch):
    """Sampled, measured, shown, and stored as the start; how far the reasoner moved is said. Catches a start made
    and not trained from."""
    monkeypatch.setattr(helper_lessons, "MOVED", 0.0)
    settings = ("--agents.boundaries=natural", "--agents.chunk_length=8", "--run.max_steps=1", "--warmup.max_steps=400")
    taught = ("--warmup.chains=32", "--warmup.chain_learning_rate=2e-3", "--warmup.chain_epochs=4")
    assert runs.train(tmp_path / "taught", *settings, *taught) == 0
    printed = capsys.readouterr()
    said = printed.out + printed.err
    assert "own chains 32/32" in said
    assert re.search(r"helpers' start .*loss \d\.\d+, moved \d\.\d+", said)
    assert re.search(r"has moved the reasoner by \d\.\d+ nats a token.*chain_learning_rate=0.002", said)
    assert (tmp_path / "taught" / "start").is_dir()
    assert runs.train(tmp_path / "plain", *settings) == 0
    (row,), (plain,) = (runs.rows(tmp_path / name) for name in ("taught", "plain"))
    assert row["segment/valid"] == row["score/valid"] == 1.0
    assert row["score/frozen_mean"] != plain["score/frozen_mean"]


def test_kl_is_zero_at_the_start_and_logged(warm, tmp_path):
    """Catches a reference that is not the starting policy, or one asked under another constraint than the sampler's."""
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, "--run.max_steps=1", "--grpo.beta=[0.01, 0.01, 0.01]") == 0
    (row,) = runs.rows(folder)
    for role in ("reason", "segment", "score"):
        assert row[f"{role}/kl"] == pytest.approx(0.0, abs=1e-5)
        assert row[f"{role}/ratio/log_abs_mean"] == pytest.approx(0.0, abs=1e-4)


def test_an_evaluation_in_mid_run_is_made_up_after_a_stop(warm, tmp_path):
    """Catches a resumed run without an evaluation that the uninterrupted one has."""
    folder = runs.begin(warm, tmp_path / "run")
    arguments = ["--run.max_steps=3", "--run.eval_steps=2", "--run.save_steps=1"]
    assert runs.train(folder, *arguments) == 0
    wanted = folder / "evaluation" / "step_000002.json"
    before = wanted.read_text()
    runs.remove_checkpoint(folder, 3)
    wanted.unlink()
    assert runs.train(folder, "--resume", *arguments) == 0
    assert wanted.read_text() == before


def test_the_best_evaluation_s_policy_is_kept_beside_the_newest(warm, tmp_path, monkeypatch, capsys):
    """With one checkpoint kept, the best of three evaluations would be gone when the run is over."""
    folder, calls = runs.begin(warm, tmp_path / "run"), itertools.count()
    table = loop.table
    accuracies = [0.8, 0.7, 0.8]  # after steps 1, 2 and 3; the third takes more tokens than the first

    def told(*arguments):
        n = next(calls)
        return table(*arguments) | {"accuracy": accuracies[n], "mean_tokens": 30.0 + n}

    monkeypatch.setattr(loop, "table", told)
    arguments = ["--run.max_steps=3", "--run.eval_steps=1", "--run.save_steps=1", "--run.save_total_limit=1"]
    assert runs.train(folder, *arguments) == 0
    monkeypatch.undo()
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"3"}
    assert {p.name for p in (folder / "best").iterdir()} == {"1"}
    assert best_step(folder) == 1
    assert "after step 1" in (folder / "report.html").read_text()
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder), "--step", "best"]) == 0
    assert json.loads((folder / "evaluation" / "again_step_000001_heldout.json").read_text())["step"] == 1
    again = json.loads((folder / "evaluation" / "again_step_000001_heldout.json").read_text())["answers"]
    assert again == json.loads((folder / "evaluation" / "step_000001.json").read_text())["answers"]


def test_alpha_and_the_learning_rate_in_the_log_are_those_used(warm, tmp_path):
    """Catches an off-by-one in either schedule: alpha rises over 2 of 4 steps, the rate falls to 0 behind the last."""
    folder = runs.begin(warm, tmp_path / "run")
    settings = ["--reward.alpha=1.0", "--reward.alpha_warmup_steps=2", "--optimizer.lr_scheduler_type=linear"]
    assert runs.train(folder, "--optimizer.learning_rate=1e-4", "--optimizer.warmup_steps=0", *settings) == 0
    found = runs.rows(folder)
    assert [row["alpha"] for row in found] == [0.5, 1.0, 1.0, 1.0]
    made = np.cumsum([0, *(1 - row["skipped"] for row in found)])[:-1]  # a step without a gradient is no update
    assert made[-1] > 0, "nothing was learnt, so no rate was used"
    assert [row["learning_rate"] for row in found] == pytest.approx(list(1e-4 * (1 - made / 4)))


def _controller(lengths, start, target, *, steps, unit=0.2):
    """What each step pays, and the mean length after it: the formulas of `rewards/budget.py` in plain numbers."""
    log_tokens, multiplier, alpha, expected = math.log(start), 0.0, 0.0, []
    for number, length in enumerate(lengths):
        paid, share = alpha, min(1.0, (number + 1) / steps)
        log_tokens = 0.8 * log_tokens + 0.2 * math.log(length)
        excess = log_tokens - math.log(start * (target / start) ** share)
        moved = 0.08 * unit * min(0.1, max(-0.1, excess)) if share == 1 else 0.0
        multiplier = min(1.5 * unit, max(0.0, multiplier + moved))
        alpha = min(1.5 * unit, max(0.0, multiplier + 4.0 * unit * excess))
        expected.append((paid, math.exp(log_tokens)))
    return expected


def test_a_budget_moves_alpha_and_survives_a_stop(warm, tmp_path, capsys):
    """Catches a controller that is not saved, is updated before it is used, or reads another length than the log's."""
    settings = ["--reward.preset=lp", "--budget.target_reduction=0.5", "--budget.target_steps=3", "--run.save_steps=1"]
    straight, folder = (runs.begin(warm, tmp_path / name) for name in ("straight", "run"))
    assert runs.train(straight, *settings) == 0
    found = runs.rows(straight)
    start = json.loads((straight / "evaluation" / "step_000000.json").read_text())["table"]["mean_tokens"]
    expected = _controller([row["reason/completions/mean_length"] for row in found], start, target=start / 2, steps=3)
    for number, (row, (alpha, tokens)) in enumerate(zip(found, expected, strict=True)):
        assert row["budget/target"] == pytest.approx(start / 2)
        assert row["budget/aim"] == pytest.approx(start * 0.5 ** min(1.0, (number + 1) / 3))
        assert row["budget/alpha"] == row["alpha"] == pytest.approx(alpha, rel=TOLERANCE["sum"])
        assert row["budget/tokens"] == pytest.approx(tokens, rel=TOLERANCE["sum"])
    assert found[0]["alpha"] == 0 < found[-1]["alpha"]
    assert runs.train(folder, *settings, "--run.max_steps=2") == 0
    assert runs.train(folder, *settings) == 0
    assert runs.rows(folder) == found
    assert runs.main(["evaluate", str(folder), "--evaluation.greedy=false"]) == 0  # its state has arrays of its own


def test_a_budget_above_the_starting_length_is_said(warm, tmp_path, capsys):
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, "--reward.preset=lp", "--budget.target_tokens=48", "--run.max_steps=1") == 0
    assert "budget.target_tokens: 48.0 is not below the " in capsys.readouterr().out
