"""A run that was interrupted is the same run: on Ctrl-C, SIGTERM, kill -9, and when it is given more steps later."""

import os
import signal
import time

import chex
import jax
import pytest

from jaxreason.evaluation import stored
from tests import runs

STEPS = 16
"""Enough that a signal sent after the first checkpoint finds the run at work."""


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


@pytest.fixture(scope="module")
def straight(warm, tmp_path_factory):
    """What all the others must equal: never interrupted, and a process of its own, as a user starts it."""

    def make(folder):
        process = runs.process(runs.begin(warm, folder), f"--run.max_steps={STEPS}")
        screen, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        assert said == ""
        assert "sampled all" in screen

    return runs.shared(tmp_path_factory, "straight", make)


def _policy(folder, step):
    config = stored.load_config(folder)
    config = stored.experiment.with_vocabulary(config, stored.tokenizer.load(folder / "tokenizer"))
    params, number = stored.load_policy(folder, config, step)
    assert number == step
    return jax.device_get(params)


def _wait_for_checkpoint(folder, process, timeout_s=240):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and process.poll() is None:
        if (folder / "checkpoints").is_dir() and any(p.name.isdigit() for p in (folder / "checkpoints").iterdir()):
            return
        time.sleep(0.01)
    process.kill()
    pytest.fail(f"no checkpoint before the process ended or {timeout_s} s passed: {process.communicate()}")


def test_two_launches_are_one_run(warm, straight, tmp_path):
    """Metrics of every step and the parameters, bit for bit: optimiser, keys, data position and monitor came along."""
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, "--run.max_steps=3") == 0
    assert runs.train(folder, f"--run.max_steps={STEPS}", "--resume") == 0
    assert runs.rows(folder) == runs.rows(straight)
    assert runs.results(folder) == runs.results(straight)
    chex.assert_trees_all_equal(_policy(folder, STEPS), _policy(straight, STEPS))
    assert sum(row["grad_norm"] > 0 for row in runs.rows(straight)) > STEPS / 2, "little was learnt, so little compared"


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["terminate", "ctrl-c", "kill"],
)
def test_a_run_that_is_stopped_goes_on_with_the_same_numbers(warm, straight, tmp_path, capsys, number, exit_code):
    """The signal goes to the whole process group, as a terminal's Ctrl-C does. A second process is refused."""
    folder = runs.begin(warm, tmp_path / "run")
    process = runs.process(folder, f"--run.max_steps={STEPS}")
    _wait_for_checkpoint(folder, process)
    if number == signal.SIGTERM:
        assert runs.train(folder, f"--run.max_steps={STEPS}", "--resume") == 2
        refused = capsys.readouterr().err
        assert "another process is writing this run" in refused
        assert refused.count("\n") == 1
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == exit_code, said
    assert not (folder / "results.json").exists(), "the run was over before the signal came; raise STEPS"
    rows = runs.rows(folder)
    if number != signal.SIGKILL:
        assert "saved; the same command goes on from there" in said
        assert said.count("\n") == 1, said
        assert len(rows) < STEPS
    capsys.readouterr()
    assert runs.train(folder, f"--run.max_steps={STEPS}") == 0
    going_on = capsys.readouterr().out
    assert ": going on after step " in going_on
    if number != signal.SIGKILL:
        assert f": going on after step {len(rows)} of" in going_on
    assert runs.rows(folder) == runs.rows(straight)
    assert runs.results(folder) == runs.results(straight)
    chex.assert_trees_all_equal(_policy(folder, STEPS), _policy(straight, STEPS))


def test_a_finished_run_started_again_shows_its_results(straight, capsys):
    """What `make demo` does the second time. The seconds it took must not become those of looking at it."""
    before = (straight / "results.json").read_bytes()
    assert runs.train(straight, f"--run.max_steps={STEPS}", "--resume") == 0
    assert "sampled all" in capsys.readouterr().out
    assert (straight / "results.json").read_bytes() == before
