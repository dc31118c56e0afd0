"""What a run does at an alarm: warn, end, or go back to its best policy."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import Config, OptimizerConfig, RunConfig
from jaxreason.evaluation import loop, stored
from jaxreason.grpo import optimizer
from jaxreason.run import monitor, on_alarm
from jaxreason.run import state as run_state
from jaxreason.run.checkpoint import open_checkpoints
from tests import runs


def _config(what: str, **fields) -> Config:
    return Config(run=RunConfig(on_alarm=what, eval_steps=1, **fields))


@pytest.mark.parametrize(
    ("what", "signs", "rollbacks", "back", "ends"),
    [
        ("warn", ["A"], 0, False, False),
        ("stop", ["A"], 0, False, True),
        ("stop", ["B", "C", "D", "inflation"], 0, False, False),  # nothing is lost yet
        ("rollback", ["D2"], 0, True, False),
        ("rollback", ["E"], 1, True, False),
        ("rollback", ["F"], 2, True, False),  # once more, and then it ends
        ("rollback", [], 0, False, False),
    ],
)
def test_what_follows_an_alarm(what, signs, rollbacks, back, ends):
    memory = {"new": signs, "rollbacks": [{"alarm": "A", "step": 5}] * rollbacks}
    assert on_alarm.goes_back(memory, _config(what)) is back
    found = on_alarm.end(memory, 7, _config(what), lambda line: None)
    assert found == ({"alarm": signs[0][0], "step": 7} if ends else None)


@pytest.mark.parametrize(("times", "ends"), [(0, False), (2, False), (3, True)])
def test_a_run_that_has_gone_back_often_enough_ends_also_if_it_was_killed_there(times, ends):
    """Catches a launch that goes on from the policy with which the run before it had ended."""
    memory = {"rollbacks": [{"alarm": "A", "step": 10 * n} for n in range(times)]}
    found = on_alarm.end(memory, 30, _config("rollback"), lambda line: None)
    assert found == ({"alarm": "A", "step": 20} if ends else None)
    assert on_alarm.end(memory, 30, _config("rollback", max_rollbacks=3), lambda line: None) is None
    assert on_alarm.end(memory, 30, _config("warn"), lambda line: None) is None


@pytest.mark.parametrize("fields", [{"eval_steps": 0}, {"eval_steps": 1, "keep_best": False}])
def test_a_rollback_needs_something_to_go_back_to(fields):
    with pytest.raises(ValueError, match=r"run\.on_alarm"):
        RunConfig(on_alarm="rollback", **fields)


def test_momentum_is_forgotten_and_the_size_of_steps_is_not():
    """Catches an optimiser begun anew with its count kept: without second moments its first updates are 3 times the
    learning rate."""
    made, _ = optimizer.make_optimizer(OptimizerConfig(learning_rate=1e-3, warmup_steps=0), 100)
    params = {"w": jnp.arange(6.0).reshape(2, 3)}
    state = made.init(params)
    for i in range(50):
        _, state = made.update({"w": jnp.full((2, 3), 0.5 + 0.01 * (i % 3))}, state, params)
    cleared = optimizer.without_momentum(state)
    assert optimizer.updates_made(cleared) == 50
    before, after = (jax.tree.leaves(s) for s in (state, cleared))
    changed = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if not np.array_equal(a, b)]
    assert len(changed) == 1
    assert not np.any(after[changed[0]])
    step, _ = made.update({"w": jnp.full((2, 3), 0.5)}, cleared, params)
    assert np.abs(step["w"]).max() <= 1e-3


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


@pytest.fixture
def alarmed(monkeypatch):
    """Alarms at steps of one's choice, and step 1 as the best evaluation."""

    def at(steps: dict[int, str]):
        observe, table = monitor.observe, loop.table

        def with_alarm(state, row, config, **settings):
            after, warnings = observe(state, row, config, **settings)
            return after | {"new": [steps[row["step"]]] if row["step"] in steps else []}, warnings

        def told(*arguments):
            found = table(*arguments)
            return found | {"accuracy": 0.5}

        monkeypatch.setattr(monitor, "observe", with_alarm)
        monkeypatch.setattr(loop, "table", told)

    return at


ROLLBACK = ["--run.on_alarm=rollback", "--run.eval_steps=1", "--run.save_steps=2", "--optimizer.learning_rate=1e-3"]


def _memory(folder) -> dict:
    """What the monitor remembers in the newest checkpoint."""
    config = stored.open_place(str(folder)).config
    with open_checkpoints(folder / "checkpoints", None) as checkpoints:
        _, meta, _ = checkpoints.restore(None, run_state.shape_of_state(config))
    return meta["monitor"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--lora.r=4", "--run.staleness=1")], ids=["whole", "adapters ahead"])
def test_a_run_goes_back_to_its_best_policy_and_a_kill_changes_nothing(warm, tmp_path, alarmed, capsys, more):
    alarmed({3: "A", 4: "D2"})
    whole, parts = (runs.begin(warm, tmp_path / name) for name in ("whole", "parts"))
    assert runs.train(whole, *ROLLBACK, *more, "--run.max_steps=5") == 0
    printed = capsys.readouterr().out
    assert "step 3: alarm A: back to the policy of step" in " ".join(printed.split())
    results = json.loads((whole / "results.json").read_text())
    assert [(r["step"], r["alarm"], r["halved"]) for r in results["rollbacks"]] == [
        (3, "A", "reward.alpha"),
        (4, "D", "optimizer.learning_rate"),
    ]
    assert results["ended_by"] is None
    rows = runs.rows(whole)
    assert [row["rollbacks"] for row in rows] == [0, 0, 0, 1, 2]
    alpha = [row["alpha"] for row in rows]
    assert alpha == pytest.approx([0.2, 0.2, 0.2, 0.1, 0.1])
    assert rows[4]["learning_rate"] == pytest.approx(rows[3]["learning_rate"] / 2)
    if "--run.staleness=1" in more:  # what the dropped policies had begun is not learnt from
        assert [row["reason/staleness"] for row in rows] == [0, 1, 1, 0, 0]

    for steps in (3, 4, 5):
        assert runs.train(parts, *ROLLBACK, *more, f"--run.max_steps={steps}") == 0
    for one, other in zip(rows, runs.rows(parts), strict=True):
        assert one == other
    memory = _memory(whole)
    assert _memory(parts) == memory
    assert memory["evaluated"][0][0] == results["rollbacks"][1]["to"]  # what later evaluations are held against


@pytest.mark.slow
def test_a_run_ends_at_an_alarm_and_goes_on_when_told(warm, tmp_path, alarmed, capsys):
    alarmed({2: "E"})
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, "--run.on_alarm=stop") == 0
    results = json.loads((folder / "results.json").read_text())
    assert results["ended_by"] == {"alarm": "E", "step": 2}
    assert results["steps"] == 2
    assert (folder / "report.html").is_file()
    capsys.readouterr()
    assert runs.train(folder, "--run.on_alarm=stop") == 0
    assert "finished before" in " ".join(capsys.readouterr().out.split())
    assert runs.train(folder) == 0
    assert json.loads((folder / "results.json").read_text())["steps"] == 4
    assert len(runs.rows(folder)) == 4


@pytest.mark.slow
def test_the_alarm_after_the_last_rollback_ends_the_run_with_its_best_policy(warm, tmp_path, alarmed, capsys):
    """Catches a run that ends with the policy that the last alarm was about, and one that a launch with the same
    settings does not find finished."""
    alarmed({2: "A", 3: "G"})
    folder = runs.begin(warm, tmp_path / "run")
    once = [*ROLLBACK, "--run.max_rollbacks=1"]
    assert runs.train(folder, *once) == 0
    results = json.loads((folder / "results.json").read_text())
    assert results["ended_by"] == {"alarm": "G", "step": 3}
    assert [(back["step"], back["alarm"]) for back in results["rollbacks"]] == [(2, "A"), (3, "G")]
    answers = [json.loads((folder / "evaluation" / f"step_{n:06d}.json").read_text())["answers"] for n in (0, 1, 3)]
    best = results["rollbacks"][1]["to"]
    assert answers[2] == answers[min(best, 1)]
    capsys.readouterr()
    assert runs.train(folder, *once) == 0
    assert "finished before" in " ".join(capsys.readouterr().out.split())
    assert runs.train(folder, *ROLLBACK, "--run.max_rollbacks=2") == 0
    assert json.loads((folder / "results.json").read_text())["steps"] == 4


@pytest.mark.slow
def test_a_teacher_goes_back_with_the_policy(warm, tmp_path, alarmed):
    """Catches a teacher that stays the policy that was dropped, which would lead back to it."""
    alarmed({3: "A"})
    folder = runs.begin(warm, tmp_path / "run")
    crisp = ["--reward.preset=crisp", "--reward.options={refresh: 1}", "--run.max_steps=3"]
    assert runs.train(folder, *ROLLBACK, *crisp) == 0
    assert json.loads((folder / "results.json").read_text())["rollbacks"][0]["halved"] == "optimizer.learning_rate"
    config = stored.open_place(str(folder)).config
    with open_checkpoints(folder / "checkpoints", None) as checkpoints:
        state, _, number = checkpoints.restore(None, run_state.shape_of_state(config))
    assert number == 3
    chex.assert_trees_all_equal(state.teacher, state.train.params)
