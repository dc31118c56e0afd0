"""A signal ends a step or an evaluation half-way, and nothing of the half is kept."""

import os
import signal
import threading
import time

import jax
import jax.numpy as jnp
import pytest

from jaxreason.agents import reasoner
from jaxreason.run.interrupt import Abandoned, Interrupt
from tests import runs

pytestmark = pytest.mark.slow

SETTINGS = ("--reward.preset=grpo", "--run.save_steps=0")


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


def test_waiting_for_a_device_ends_with_a_signal_and_not_with_the_work():
    """A rollout of minutes would outlast the half minute a pre-empted machine is given."""

    @jax.jit
    def long(x):
        return jax.lax.fori_loop(0, 300, lambda _, y: jnp.tanh(y @ y), x)

    x = jnp.eye(400)
    jax.block_until_ready(long(x))  # compiled
    with Interrupt() as interrupt:
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        slow = [long(x)]
        for _ in range(8):  # seconds; all of it is computed in the end, before what comes next
            slow.append(long(slow[-1]))
        with pytest.raises(Abandoned):
            interrupt.wait(slow)
        assert not slow[-1].is_ready()
        assert interrupt.exit_code == 143


def test_waiting_gives_back_what_it_was_given():
    with Interrupt() as interrupt:
        given = {"a": jnp.arange(3), "b": 1}
        assert interrupt.wait(given) is given
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)
        with pytest.raises(Abandoned):
            interrupt.wait(given)


@pytest.mark.parametrize(
    ("call", "message", "rows"),
    [(1, "stopped before the first step and saved", 0), (3, "stopped after step 2 and saved", 2)],
    ids=["first step", "third step"],
)
def test_a_signal_while_sampling_leaves_the_step_undone(warm, tmp_path, monkeypatch, capsys, call, message, rows):
    """Catches a step that is finished first, one that counts half, and a resumed run that draws it otherwise."""
    straight, folder = (runs.begin(warm, tmp_path / name) for name in ("straight", "run"))
    assert runs.train(straight, *SETTINGS) == 0
    reason, calls = reasoner.sample, []

    def signalled(*arguments, **keywords):
        calls.append(keywords)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return reason(*arguments, **keywords)

    monkeypatch.setattr(reasoner, "sample", signalled)
    capsys.readouterr()
    assert runs.train(folder, *SETTINGS) == 143
    assert message in capsys.readouterr().err
    assert len(calls) == call
    monkeypatch.undo()
    assert (len(runs.rows(folder)) if (folder / "metrics.jsonl").is_file() else 0) == rows
    assert runs.train(folder, *SETTINGS) == 0
    assert runs.rows(folder) == runs.rows(straight)
    assert runs.results(folder) == runs.results(straight)


def test_a_signal_during_an_evaluation_leaves_none(warm, tmp_path, monkeypatch, capsys):
    """The table of half of the problems would otherwise be taken for the whole on the next start."""
    folder = runs.begin(warm, tmp_path / "run")
    (folder / "evaluation" / "step_000000.json").unlink()
    reason = reasoner.sample

    def signalled(*arguments, **keywords):
        os.kill(os.getpid(), signal.SIGTERM)
        return reason(*arguments, **keywords)

    monkeypatch.setattr(reasoner, "sample", signalled)
    assert runs.train(folder, *SETTINGS) == 143
    assert "stopped before the first step" in capsys.readouterr().err
    assert not (folder / "evaluation" / "step_000000.json").exists()
