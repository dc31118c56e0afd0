"""Completions that are begun one step early: whose they are, what is learnt from them, and that a resumed run is the
same run."""

import dataclasses
import os
import signal

import chex
import jax
import jax.numpy as jnp
import pytest

from jaxreason.agents import reasoner
from jaxreason.config import RunConfig
from jaxreason.evaluation import stored
from tests import runs

STEPS = 3
SETTINGS = (f"--run.max_steps={STEPS}", "--run.save_steps=0", "--optimizer.learning_rate=1e-3")
DYNAMIC = (
    "--reward.preset=grpo",
    "--grpo.dynamic_sampling=true",
    "--grpo.max_num_gen_batches=3",
    "--data.train_size=40",
)
WAYS = pytest.mark.parametrize("way", [(), DYNAMIC], ids=["three roles", "dynamic sampling"])


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


@pytest.fixture(scope="module")
def straight(warm, tmp_path_factory):
    """Finished runs by their settings, never interrupted."""
    found = {}

    def of(way):
        if way not in found:
            found[way] = runs.begin(warm, tmp_path_factory.mktemp("straight") / "run")
            assert runs.train(found[way], *SETTINGS, *way, "--run.staleness=1") == 0
        return found[way]

    return of


def _policy(folder, **sampling):
    config = stored.load_config(folder)
    config = stored.setup.with_vocabulary(config, stored.tokenizer.load(folder / "tokenizer"))
    config = dataclasses.replace(config, sampling=dataclasses.replace(config.sampling, **sampling))
    return jax.device_get(stored.load_policy(folder, config)[0])


def test_only_a_step_is_waited_for():
    with pytest.raises(ValueError, match=r"run\.staleness: expected 0 or 1, got 2"):
        RunConfig(staleness=2)


@pytest.mark.slow
@WAYS
def test_a_step_learns_from_what_the_policy_before_the_last_update_says(warm, straight, tmp_path, monkeypatch, way):
    """Against a run without staleness whose first batches are drawn by a copy of the parameters of the step before.
    Catches a sampler that reads donated or new parameters, another key, other problems, helpers or further batches of
    the older policy, and log-probabilities that are not the sampler's own."""
    begin, held = reasoner.begin, []

    def by_the_one_before(params, *arguments, **named):
        if named.get("number") is not None:  # of dynamic sampling
            return begin(params, *arguments, **named)
        held.append(jax.tree.map(jnp.copy, params))
        return begin(held[max(0, len(held) - 2)], *arguments, **named)

    monkeypatch.setattr(reasoner, "begin", by_the_one_before)
    reference = runs.begin(warm, tmp_path / "reference")
    assert runs.train(reference, *SETTINGS, *way) == 0
    monkeypatch.undo()
    assert len(held) == STEPS
    rows = runs.rows(straight(way))
    assert [row.pop("reason/staleness") for row in rows] == [0, 1, 1], "nothing is begun behind the last step"
    assert rows == runs.rows(reference)
    chex.assert_trees_all_equal(_policy(straight(way)), _policy(reference))
    moved = [row["reason/ratio/log_abs_mean"] for row in rows if row["reason/entropy"]]
    assert moved[0] < 1e-4 < max(moved), "all was learnt from the policy's own completions"
    if way == DYNAMIC:
        assert sum(row["reason/groups_replaced"] for row in rows[:-1]) > 0, (
            "the place in the data was not put to the test"
        )


@pytest.mark.slow
@WAYS
def test_a_run_that_is_stopped_goes_on_with_the_same_numbers(warm, straight, tmp_path, monkeypatch, capsys, way):
    """SIGTERM while the second step is at work and the third is begun. Catches a step that is drawn anew by the newest
    policy, what is begun only when the host has graded, and a policy that cannot be opened beside it."""
    begin, calls, read, begun_by_grading = reasoner.begin, [], reasoner.read_answers, []

    def signalled(params, *arguments, **named):
        calls.append(named.get("number") is None)
        if calls[-1] and sum(calls) == STEPS:
            os.kill(os.getpid(), signal.SIGTERM)
        return begin(params, *arguments, **named)

    def graded(*arguments):
        begun_by_grading.append(sum(calls))
        return read(*arguments)

    monkeypatch.setattr(reasoner, "begin", signalled)
    monkeypatch.setattr(reasoner, "read_answers", graded)
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, *SETTINGS, *way, "--run.staleness=1") == 143
    assert "stopped after step 1 and saved" in capsys.readouterr().err
    monkeypatch.undo()
    ahead = 1 if way == DYNAMIC else 2  # where grades decide what is sampled next
    assert next(filter(None, begun_by_grading)) == ahead, "the device waits for the grading of the first step"
    _policy(folder, max_completion_length=7)  # as an evaluation under a limit of its own opens it
    assert runs.train(folder, *SETTINGS, *way, "--run.staleness=1") == 0
    assert runs.rows(folder) == runs.rows(straight(way))
    assert runs.results(folder) == runs.results(straight(way))
    chex.assert_trees_all_equal(_policy(folder), _policy(straight(way)))
