"""The record of a user's code in a run's folder: what changed, what may, and what made which steps."""

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from jaxreason.config import Config, RewardConfig
from jaxreason.config.doors import DoorError, DoorFailed
from jaxreason.run import doors
from jaxreason.run.folder import create_or_open

_folders = itertools.count()


def _config(output_dir, **run) -> Config:
    reward = RewardConfig(reward_funcs=("mine.py:f",))
    return dataclasses.replace(
        Config(), reward=reward, run=dataclasses.replace(Config().run, output_dir=str(output_dir), **run)
    )


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """Begins or goes on with a run whose door has this text, after so many steps, in a process as it were: a door is
    loaded once a process, by its file, so each launch sees the file in a folder of its own. Returns what was said."""

    def launch(text: str, number: int = 0, fails: bool = False, **run) -> list[str]:
        here = tmp_path / f"launch{next(_folders)}"
        here.mkdir()
        monkeypatch.chdir(here)
        Path("mine.py").write_text(text)
        config, told = _config(tmp_path / "run", **run), []
        found = doors.load(config)
        with create_or_open(tmp_path / "run", config) as folder:
            if fails:
                doors.note_failure(folder, DoorFailed("it raised", file=str(found[0].file)))
                return told
            doors.refuse_changed(folder, found, config, told.append)
            doors.record(folder, found, number)
            for step in range(number + 1, number + 3):
                folder.write_metrics(step, {})
        return told

    return launch


def _record(tmp_path) -> dict:
    return json.loads((tmp_path / "run/doors.json").read_text())


OLD, NEW = "def f(completions): return [1]\n", "def f(completions): return [2]\n"


def test_the_same_code_goes_on(launch, tmp_path):
    assert launch(OLD) == launch(OLD, 2) == []
    record = _record(tmp_path)
    assert record["before"] == []
    assert (tmp_path / "run" / record["doors"][0]["source"]).read_text() == OLD


def test_changed_code_is_refused_in_a_line_with_what_to_do(launch, tmp_path):
    launch(OLD)
    before = (tmp_path / "run/doors.json").read_text()
    with pytest.raises(DoorError) as refused:
        launch(NEW, 2)
    line = str(refused.value)
    assert line.startswith("reward.reward_funcs: mine.py:f has changed since this run was begun (")
    assert str(tmp_path / "run" / json.loads(before)["doors"][0]["source"]) in line
    assert "set another run.output_dir, or go on with the new code by --run.accept_changed_doors=true" in line
    assert "\n" not in line
    assert (tmp_path / "run/doors.json").read_text() == before


def test_accepted_code_is_the_runs_code_and_the_old_stays_on_record(launch, tmp_path):
    launch(OLD)
    (line,) = launch(NEW, 2, accept_changed_doors=True)
    assert line.endswith("going on with it as it is now (run.accept_changed_doors)")
    record = _record(tmp_path)
    ((until, before),) = [(part["until_step"], part["doors"]) for part in record["before"]]
    assert until == 2
    assert (tmp_path / "run" / before[0]["source"]).read_text() == OLD
    assert launch(NEW, 4) == []
    with pytest.raises(DoorError, match="has changed since"):
        launch(OLD, 6)


def test_code_that_ended_the_run_may_be_mended_once(launch, tmp_path, monkeypatch):
    launch(OLD)
    launch(OLD, fails=True)
    failed = Path(_record(tmp_path)["failed"])
    # The next launch has the file where it was, as a user's has.
    monkeypatch.setattr(doors, "load", lambda config: (_door(failed, NEW),))
    (line,) = launch(NEW, 2)
    assert line.endswith("going on with it as it is now, since it ended the run before")
    assert _record(tmp_path)["failed"] is None
    monkeypatch.setattr(doors, "load", lambda config: (_door(failed, OLD),))
    with pytest.raises(DoorError, match="has changed since"):
        launch(OLD, 4)


def _door(file: Path, text: str):
    import hashlib

    from jaxreason.config.doors import Door

    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    return Door("reward.reward_funcs", f"{file}:f", "f", file, fingerprint, None, text)


def test_a_reward_may_change_until_a_step_was_made_with_it(tmp_path, monkeypatch):
    """A first launch that came to nothing, or was stopped in its warm-up, binds nobody."""
    monkeypatch.chdir(tmp_path)
    config = _config(tmp_path / "run")
    for text in (OLD, NEW):
        found = (_door(tmp_path / "mine.py", text),)
        with create_or_open(tmp_path / "run", config) as folder:
            doors.refuse_changed(folder, found, config, pytest.fail)
            doors.record(folder, found, 0)
    assert _record(tmp_path)["before"] == []
    task = (dataclasses.replace(found[0], field="data.task"),)
    with create_or_open(tmp_path / "run", config) as folder:
        doors.record(folder, task, 0)
        changed = (dataclasses.replace(task[0], fingerprint="0" * 64),)
        with pytest.raises(DoorError, match=r"data\.task: mine\.py:f has changed since"):
            doors.refuse_changed(folder, changed, config, pytest.fail)


def test_a_damaged_record_is_named(launch, tmp_path):
    launch(OLD)
    (tmp_path / "run/doors.json").write_text("{")
    with pytest.raises(DoorError, match=r"doors.json: cannot be read, expected the record .* delete it to go on"):
        launch(OLD, 2)


def test_a_run_without_doors_leaves_no_record(tmp_path):
    with create_or_open(tmp_path / "run", Config()) as folder:
        doors.refuse_changed(folder, (), Config(), pytest.fail)
        doors.record(folder, (), 0)
    assert not (tmp_path / "run/doors.json").exists()
