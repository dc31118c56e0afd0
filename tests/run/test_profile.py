"""Traces of steps: own time without what is inside, of the steps that are asked for, and never at a step's cost."""

import jax
import jax.numpy as jnp
import pytest

from jaxreason.run import profile
from jaxreason.run.profile import Event
from tests import runs


def test_own_time_by_hand():
    """A loop of 100 with two calls of 30 inside, another line beside it, a call that begins where one ends."""
    lines = [
        [Event("p", "loop", 0, 100), Event("p", "dot", 10, 30), Event("p", "dot", 40, 30), Event("p", "after", 100, 5)],
        [Event("p", "dot", 0, 7), Event("q", "dot", 7, 50)],
    ]
    found = {(o.program, o.name): (o.calls, o.seconds) for o in profile.operations(lines)}
    assert found == {
        ("p", "loop"): (1, pytest.approx(40e-9)),
        ("p", "dot"): (3, pytest.approx(67e-9)),
        ("p", "after"): (1, pytest.approx(5e-9)),
        ("q", "dot"): (1, pytest.approx(50e-9)),
    }
    assert [o.name for o in profile.operations(lines)] == ["dot", "dot", "loop", "after"]
    assert profile.table(profile.operations(lines)).count("\n") == 6


def test_a_trace_is_written_for_its_step_alone(tmp_path):
    said = []
    work = jax.jit(lambda x: jnp.tanh(x @ x))
    for number in (1, 2, 3):
        with profile.traced(tmp_path, number, (2,), said.append):
            work(jnp.ones((64, 64))).block_until_ready()
    assert [place.name for place in sorted((tmp_path / "profile").iterdir())] == ["step_000002", "step_000002.txt"]
    assert len(said) == 1
    assert "jit__lambda" in (tmp_path / "profile/step_000002.txt").read_text()


def test_a_trace_that_fails_costs_nothing(tmp_path, monkeypatch):
    said, done = [], []

    def full(place):
        raise OSError("no space left")

    monkeypatch.setattr(jax.profiler, "start_trace", full)
    with profile.traced(tmp_path, 1, (1,), said.append):
        done.append(1)
    assert done == [1]
    assert said == ["run.profile_steps: step 1 was not traced (no space left)"]


def test_a_step_that_raises_ends_its_trace(tmp_path):
    """Catches a trace left open, beside which no other can begin."""
    with pytest.raises(KeyError), profile.traced(tmp_path, 1, (1,), print):
        raise KeyError
    with profile.traced(tmp_path, 2, (2,), print):
        jnp.ones(4).block_until_ready()
    assert (tmp_path / "profile/step_000002.txt").exists()


def test_a_run_traces_the_steps_it_is_told_to(tmp_path, capsys):
    settings = ("--run.max_steps=2", "--warmup.max_steps=2", "--warmup.drill_steps=0", "--reward.preset=grpo")
    assert runs.train(tmp_path / "run", "--run.profile_steps=2", *settings) == 0
    assert "step 2, its 10 largest operations" in capsys.readouterr().out
    assert [f.name for f in (tmp_path / "run/profile").glob("*.txt")] == ["step_000002.txt"]
