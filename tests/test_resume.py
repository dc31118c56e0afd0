"""A run that was interrupted is the same run: on Ctrl-C, SIGTERM, kill -9, and when it is given more steps later."""

import os
import random
import signal
import time

import chex
import jax
import pytest

from jaxreason.config import load
from jaxreason.data.dataset import ProblemStream
from jaxreason.evaluation import stored
from tests import killed, runs

STEPS = 12
"""Enough that a signal sent after the first checkpoint finds the run at work."""

KILLS = 5
"""One in each phase, and one more in another step's rollout."""


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
    config = stored.setup.with_vocabulary(config, stored.tokenizer.load(folder / "tokenizer"))
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


def _newest(folder) -> int:
    """The newest checkpoint that is committed."""
    place = folder / "checkpoints"
    return max((int(p.name) for p in place.iterdir() if p.name.isdigit()), default=0) if place.is_dir() else 0


def test_two_launches_are_one_run(warm, straight, tmp_path):
    """Metrics of every step and the parameters, bit for bit: optimiser, keys, data position and monitor came along."""
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, "--run.max_steps=3") == 0
    assert runs.train(folder, f"--run.max_steps={STEPS}", "--resume") == 0
    assert runs.rows(folder) == runs.rows(straight)
    assert runs.results(folder) == runs.results(straight)
    chex.assert_trees_all_equal(_policy(folder, STEPS), _policy(straight, STEPS))
    assert sum(row["grad_norm"] > 0 for row in runs.rows(straight)) > STEPS / 2, "little was learnt, so little compared"


@pytest.mark.slow
def test_the_target_comes_along(warm, tmp_path):
    """Catches a window of right answers that begins anew with a launch."""
    settings = ["--reward.preset=truncation", "--reward.target_quantile=0.5", "--reward.target_window=3"]
    once, twice = (runs.begin(warm, tmp_path / name) for name in ("once", "twice"))
    assert runs.train(once, *settings, "--run.max_steps=6") == 0
    assert runs.train(twice, *settings, "--run.max_steps=3") == 0
    assert runs.train(twice, *settings, "--run.max_steps=6", "--resume") == 0
    assert runs.rows(once) == runs.rows(twice)
    targets = [row["reason/target_length"] for row in runs.rows(once)]
    assert len(set(targets)) > 1, "nothing was followed"
    assert max(targets) <= load(once / "config.yaml").sampling.max_completion_length


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["hapo", "laser_d_dynamic"])
def test_what_a_method_remembers_comes_along(warm, tmp_path, preset):
    """Catches a history that begins anew with a launch: eight problems, each seen every second step."""
    settings = [f"--reward.preset={preset}", "--data.train_size=8", "--run.save_steps=3"]
    once, twice = (runs.begin(warm, tmp_path / name) for name in ("once", "twice"))
    assert runs.train(once, *settings, "--run.max_steps=6") == 0
    assert runs.train(twice, *settings, "--run.max_steps=3") == 0
    assert runs.train(twice, *settings, "--run.max_steps=6", "--resume") == 0
    assert runs.rows(once) == runs.rows(twice)
    first, later = (runs.rows(once)[n]["reason/rewards/outcome/mean"] * 32 for n in (0, -1))
    assert first == round(first)
    if preset == "hapo":
        assert later != round(later), "the history was not read, or no answer was right"


@pytest.mark.slow
def test_the_place_in_the_data_comes_along_with_dynamic_sampling(warm, tmp_path, monkeypatch):
    """Catches a launch that begins at the number of its steps: problems would be met twice and others never."""
    settings = ["--grpo.dynamic_sampling=true", "--grpo.max_num_gen_batches=3", "--data.train_size=40"]
    once, twice, off = (runs.begin(warm, tmp_path / name) for name in ("once", "twice", "off"))
    real, begun = ProblemStream.rows, []
    monkeypatch.setattr(
        ProblemStream, "rows", lambda self, first, count: begun.append(first) or real(self, first, count)
    )
    assert runs.train(once, *settings, "--run.max_steps=4") == 0
    assert runs.train(twice, *settings, "--run.max_steps=2") == 0
    assert runs.train(twice, *settings, "--run.max_steps=4", "--resume") == 0
    found = runs.rows(once)
    assert runs.rows(twice) == found
    chex.assert_trees_all_equal(_policy(once, 4), _policy(twice, 4))
    assert sum(row["reason/groups_replaced"] for row in found[:2]) > 0, "or nothing was put to the test"
    calls, place = 0, 0
    for row in found:
        assert begun[calls] == place, "a step begins behind what the one before it took"
        calls, place = calls + int(row["reason/num_gen_batches"]), place + 4 + int(row["reason/groups_replaced"])
        assert row["reason/frac_all_correct"] == 0 or row["reason/groups_without_spread"]
    assert begun == begun[:calls] * 2
    assert runs.train(off, "--data.train_size=40", "--run.max_steps=1") == 0
    (plain,) = runs.rows(off)
    assert "reason/groups_sampled" not in plain
    first = [row["reason/completions/mean_length"] for row in (plain, found[0])]
    assert (first[0] == first[1]) == (found[0]["reason/groups_replaced"] == 0)


@pytest.mark.slow
def test_the_lift_of_a_new_chunk_is_solved_once(warm, tmp_path):
    """The first step's number is that of all steps, also of those of a second launch, to the bit."""
    settings = ("--agents.boundaries=natural", "--agents.chunk_length=6")
    straight, folder = (runs.begin(warm, tmp_path / name) for name in ("straight", "run"))
    assert runs.train(straight, *settings, "--run.max_steps=3") == 0
    assert runs.train(folder, *settings, "--run.max_steps=1") == 0
    assert runs.train(folder, *settings, "--run.max_steps=3", "--resume") == 0
    assert runs.rows(folder) == runs.rows(straight)
    chex.assert_trees_all_equal(_policy(folder, 3), _policy(straight, 3))
    lifts = {row["segment/lift"] for row in runs.rows(straight)}
    assert len(lifts) == 1
    assert all(row["segment/ratio/log_abs_mean"] < 1e-4 for row in runs.rows(straight) if row["segment/entropy"])


@pytest.mark.slow
def test_two_launches_are_one_run_as_a_user_compiles_it(warm, tmp_path):
    """The same under XLA's ordinary optimisations, which the other tests leave out: its fused programs must not depend
    on what was run before either, and a restored array must not be rounded or laid out in another way."""

    def launch(folder, steps):
        process = runs.process(folder, f"--run.max_steps={steps}", **runs.AS_A_USER)
        _, said = process.communicate(timeout=400)
        assert process.returncode == 0, said

    straight, folder = (runs.begin(warm, tmp_path / name) for name in ("straight", "run"))
    launch(straight, 4)
    launch(folder, 2)
    launch(folder, 4)
    assert runs.rows(folder) == runs.rows(straight)
    assert runs.results(folder) == runs.results(straight)
    chex.assert_trees_all_equal(_policy(folder, 4), _policy(straight, 4))
    assert sum(row["grad_norm"] > 0 for row in runs.rows(straight)) > 2, "little was learnt, so little compared"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130)],
    ids=["terminate", "ctrl-c"],
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
    assert "saved; the same command goes on from there" in said
    assert said.count("\n") == 1, said
    rows = runs.rows(folder)
    assert len(rows) < STEPS
    capsys.readouterr()
    assert runs.train(folder, f"--run.max_steps={STEPS}") == 0
    assert f": going on after step {len(rows)} of" in capsys.readouterr().out
    assert runs.rows(folder) == runs.rows(straight)
    assert runs.results(folder) == runs.results(straight)
    chex.assert_trees_all_equal(_policy(folder, STEPS), _policy(straight, STEPS))


@pytest.mark.slow
def test_a_run_that_is_killed_at_five_random_moments_is_the_run_that_was_not(warm, straight, tmp_path):
    """Inside a rollout, an update, a save or an evaluation, by turns: nothing is missing, double or other.

    Each kill is in the first or second such phase of a launch, so that all of them stay within STEPS.
    """
    folder = runs.begin(warm, tmp_path / "run")
    settings = (f"--run.max_steps={STEPS}", "--run.save_steps=1", "--run.eval_steps=3")
    rng = random.Random(0)
    for kill in range(KILLS):
        phase = list(killed.PHASES)[kill % len(killed.PHASES)]
        passed = rng.randrange(2) if phase in ("rollout", "update") else 0
        inside = ("tests.killed", phase, str(passed), str(rng.random()))
        process = runs.process(folder, *settings, module=inside)
        _, said = process.communicate(timeout=240)
        assert process.returncode == -signal.SIGKILL, f"over before it was killed ({inside}); raise STEPS: {said}"
    assert _newest(folder) >= KILLS // 2
    assert runs.train(folder, *settings) == 0
    assert runs.rows(folder) == runs.rows(straight)
    assert runs.results(folder) == runs.results(straight)
    chex.assert_trees_all_equal(_policy(folder, STEPS), _policy(straight, STEPS))
    samples, wanted = ({f.name: f.read_text() for f in (place / "samples").iterdir()} for place in (folder, straight))
    assert samples == wanted
    shown, wanted = (runs.events(place)["reason/reward"] for place in (folder, straight))
    assert shown == wanted
    assert list(wanted) == list(range(1, STEPS + 1))


def test_a_finished_run_started_again_shows_its_results(straight, capsys):
    """What `make demo` does the second time. The seconds it took must not become those of looking at it."""
    before = (straight / "results.json").read_bytes()
    assert runs.train(straight, f"--run.max_steps={STEPS}", "--resume") == 0
    assert "sampled all" in capsys.readouterr().out
    assert (straight / "results.json").read_bytes() == before
