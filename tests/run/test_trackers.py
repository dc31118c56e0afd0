"""Trackers that are named get everything, under one id over restarts; whatever they do, the run goes on."""

import dataclasses
import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from jaxreason.config import Config
from jaxreason.run import trackers
from jaxreason.run.trackers import Trackers
from tests import runs

ROW = {
    "doc": {"question": "1+1?"},
    "resps": [["two"]],
    "filtered_resps": ["2"],
    "exact_match": 1,
    "n_tokens": 1,
    "rewards": {"reason": 0.5},
    "chunks": ["a", "b"],
    "scores": [5, 1],
}


class Recorder(types.ModuleType):
    """Stands in for wandb or trackio: keeps what it is told, and raises in the calls that `fails` names."""

    def __init__(self, name: str, fails: tuple[str, ...] = ()):
        super().__init__(name)
        self.__spec__ = types.SimpleNamespace()
        self.fails, self.calls = fails, []

    def _called(self, call: str, *args, **named):
        if call in self.fails:
            raise OSError(f"no route to {self.__name__}")
        self.calls.append((call, args, named))
        return self

    def init(self, **named):
        return self._called("init", **named)

    def log(self, values, step=None):
        return self._called("log", dict(values), step)

    def finish(self):
        return self._called("finish")

    def define_metric(self, *args, **named):
        return self._called("define_metric", *args, **named)

    def log_artifact(self, artifact):
        return self._called("log_artifact", artifact)

    def Table(self, columns, data):
        return ("table", columns, data)

    def Artifact(self, name, type):
        return types.SimpleNamespace(name=name, type=type, files=[], add_file=lambda file: None)


def _config(*names: str) -> Config:
    return dataclasses.replace(Config(), run=dataclasses.replace(Config().run, report_to=names))


@pytest.fixture
def installed(monkeypatch):
    def install(name: str, fails: tuple[str, ...] = ()) -> Recorder:
        found = Recorder(name, fails)
        monkeypatch.setitem(sys.modules, name, found)
        return found

    return install


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_is_told_everything_and_goes_on_under_its_id(installed, tmp_path, name):
    tracker, warned = installed(name), []
    for number in (1, 2):
        with Trackers(_config(name), tmp_path, warned.append) as found:
            found.step(number, {"loss": 0.5, "reason/kl": None, "worst": float("nan"), "warnings": [], "right": True})
            found.completions(number, [ROW])
    with Trackers(_config(name), tmp_path, warned.append) as found:
        found.report(Path("report.html"))
    assert warned == []
    opened = [named for call, _, named in tracker.calls if call == "init"]
    assert len({named["name"] for named in opened}) == 1
    assert all(named["resume"] == "allow" for named in opened)
    assert opened[0]["config"]["run"]["report_to"] == [name]
    first, table, second = [args for call, args, _ in tracker.calls if call == "log"]
    assert first == (({"step": 1, "loss": 0.5}, None) if name == "wandb" else ({"loss": 0.5}, 1))
    assert second[0]["loss"] == 0.5
    (_, columns, data) = table[0]["completions"]
    assert dict(zip(columns, data[0], strict=True))["chunks"] == "a\n---\nb"
    assert [call for call, *_ in tracker.calls if call == "log_artifact"] == ["log_artifact"]
    assert [call for call, *_ in tracker.calls if call == "finish"] == ["finish"] * 3


@pytest.mark.parametrize("call", ["init", "log", "finish", "log_artifact"])
def test_a_tracker_that_fails_is_named_once_and_the_others_go_on(installed, tmp_path, call):
    installed("wandb", (call,))
    other, warned = installed("trackio"), []
    with Trackers(_config("wandb", "trackio"), tmp_path, warned.append) as found:
        for number in (1, 2, 3):
            found.step(number, {"loss": 0.5})
        found.report(Path("report.html"))
    assert warned == [
        "run.report_to: wandb failed (no route to wandb); the run goes on without it, metrics.jsonl has all"
    ]
    assert [args[1] for called, args, _ in other.calls if called == "log"] == [1, 2, 3]


def test_one_that_is_not_installed_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    assert runs.train(tmp_path / "run", "--run.report_to=[wandb]") == 2
    assert "run.report_to: wandb is not installed; `pip install wandb`, or leave it out" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_none_is_imported_unless_it_is_named():
    text = (
        "import sys, jaxreason.train, jaxreason.run.trackers; "
        "sys.exit(any(name in sys.modules for name in ('wandb', 'trackio', 'tensorboardX')))"
    )
    subprocess.run([sys.executable, "-c", text], check=True, cwd=runs.ROOT, timeout=120)


@pytest.mark.slow
def test_a_run_with_a_tracker_that_always_fails_and_one_that_does_not(installed, tmp_path):
    """Two steps with their evaluations; without tensorboard there is no folder of it."""
    installed("wandb", ("log",))
    tracker, folder = installed("trackio"), tmp_path / "run"
    settings = ("--run.max_steps=2", "--warmup.max_steps=2", "--warmup.drill_steps=0", "--reward.preset=grpo")
    assert runs.train(folder, "--run.report_to=[wandb,trackio]", *settings) == 0
    assert len(runs.rows(folder)) == 2
    assert not (folder / "tb").exists()
    logged = [args for call, args, _ in tracker.calls if call == "log"]
    assert {step for _, step in logged} == {0, 1, 2}
    assert any("eval/accuracy" in values for values, _ in logged)
    assert any("completions" in values for values, _ in logged)
    assert set(json.loads((folder / "trackers.json").read_text())) == {"wandb", "trackio"}
