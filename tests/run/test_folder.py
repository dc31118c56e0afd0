"""The run folder: nothing torn, nothing mixed up, nothing overwritten."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from jaxreason import config as config_module
from jaxreason.config import Config
from jaxreason.run import files
from jaxreason.run import folder as run_folder
from jaxreason.run.folder import create_or_open
from tests import runs


def _changed(section, **fields):
    config = Config()
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **fields)})


def _rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_new_folder_says_what_ran_and_reads_back_as_the_same_configuration(tmp_path):
    config = _changed("grpo", epsilon=0.1, beta=(0.0, 0.1, 0.2))
    with create_or_open(tmp_path / "run", config):
        pass
    assert config_module.load(tmp_path / "run" / "config.yaml") == config
    env = json.loads((tmp_path / "run" / "env.json").read_text())
    assert env["versions"]["jax"]
    assert env["devices"]["count"] == 8
    assert set(env["git"]) == {"sha", "dirty"}
    assert env["command"] == sys.argv
    assert env["launches"] == 1


def test_metric_rows_are_strict_json_with_null_for_what_is_not_finite(tmp_path):
    """Python writes NaN and Infinity, which no other reader of JSON accepts."""
    with create_or_open(tmp_path, Config()) as run:
        run.write_metrics(
            1, {"a": float("nan"), "b": np.float32(0.5), "c": np.inf, "d": np.int32(3), "e": np.array(2.0)}
        )

        def refuse(constant):
            raise AssertionError(constant)

        row = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert row == {"step": 1, "a": None, "b": 0.5, "c": None, "d": 3, "e": 2.0}


def test_rows_are_on_disk_before_the_run_ends(tmp_path):
    with create_or_open(tmp_path, Config()) as run:
        run.write_metrics(1, {"a": 1.0})
        assert _rows(tmp_path) == [{"step": 1, "a": 1.0}]


def test_scalars_reach_tensorboard(tmp_path):
    with create_or_open(tmp_path, Config()) as run:
        run.write_metrics(1, {"loss": 0.25, "nan": float("nan")})
    events = b"".join(file.read_bytes() for file in (tmp_path / "tb").iterdir())
    assert b"loss" in events
    assert b"nan" not in events


def _full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_rows_that_a_full_disk_refused_are_written_whole_and_in_order_when_there_is_room(tmp_path, monkeypatch):
    """Half a line would swallow the next row; a row that is dropped would be missing for ever."""
    write, fsync = os.write, os.fsync
    with create_or_open(tmp_path, Config()) as run:
        run.write_metrics(1, {"a": 1.0})
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda file, content: write(file, content[:7]))  # what still fits
            patch.setattr(os, "fsync", _full)
            run.write_samples(2, [{"text": "b"}])
            run.write_metrics(2, {"a": 2.0})
            assert (
                run.trouble == f"{tmp_path}: cannot be written (No space left on device); tried again at the next step"
            )
        assert _rows(tmp_path) == [{"step": 1, "a": 1.0}]
        assert not (tmp_path / "samples" / "step_000002.jsonl").exists()
        assert os.fsync is fsync
        run.write_metrics(3, {"a": 3.0})
        assert run.trouble is None
    assert _rows(tmp_path) == [{"step": n, "a": float(n)} for n in (1, 2, 3)]
    assert (tmp_path / "samples" / "step_000002.jsonl").exists()
    assert runs.events(tmp_path) == {"a": {1: 1.0, 2: 2.0, 3: 3.0}}


def test_a_line_that_does_not_fit_is_taken_back(tmp_path, monkeypatch):
    write, calls = os.write, []

    def half(file, content):
        calls.append(content)
        return write(file, content[:7]) if len(calls) == 1 else _full()

    with create_or_open(tmp_path, Config()) as run:
        run.write_metrics(1, {"a": 1.0})
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            run.write_metrics(2, {"a": 2.0})
        assert len(calls) == 3  # the half, the rest, and once more with the next write
        assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "a": 1.0}\n'


def test_a_disk_that_stays_full_ends_the_run(tmp_path, monkeypatch):
    run = create_or_open(tmp_path, Config())
    monkeypatch.setattr(run_folder, "append_line", _full)
    for step in range(1, files.ATTEMPTS):
        run.write_metrics(step, {})
    with pytest.raises(files.Unwritable, match=r"No space left on device\), 5 steps in a row; make room"):
        run.write_metrics(files.ATTEMPTS, {})
    with pytest.raises(files.Unwritable, match="No space left"):
        run.settle()
    run.close()


def test_a_disk_that_is_full_at_the_start_is_refused(tmp_path, monkeypatch):
    """An empty file can be made on a full disk; the run would end after its first step."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        with pytest.raises(ValueError, match=r"run.output_dir: cannot write to .*No space left on device"):
            create_or_open(tmp_path / "run", Config())
    assert files.lacks_space(tmp_path, 1, "4 checkpoints") is None
    said = files.lacks_space(tmp_path, 10**19, "4 checkpoints")
    assert said
    assert f"{tmp_path}: 4 checkpoints of this model need 10000000000.0 GB, " in said
    assert " are free; free some space" in said


def test_tensorboard_holds_every_step_once_after_a_kill(tmp_path):
    """Events once waited in a queue: a kill took steps that were not done again."""
    with create_or_open(tmp_path, Config()) as run:
        for step in (1, 2, 3):
            run.write_metrics(step, {"a": float(step)})
        assert runs.events(tmp_path) == {"a": {1: 1.0, 2: 2.0, 3: 3.0}}  # before it is closed
    with create_or_open(tmp_path, Config()) as run:
        run.truncate_after(1)
        run.write_metrics(2, {"a": 9.0})
    assert runs.events(tmp_path) == {"a": {1: 1.0, 2: 9.0}}


def test_resuming_drops_what_will_be_done_again_and_a_torn_line(tmp_path):
    """Else steps 3 and 4 would stand twice, and a torn line would swallow the next row."""
    with create_or_open(tmp_path, Config()) as run:
        for step in range(1, 5):
            run.write_metrics(step, {"a": step / 2})
            run.write_samples(step, [{"text": "é\n", "score": float("nan")}])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "a"')
    with create_or_open(tmp_path, Config()) as run:
        assert run.launches == 2
        assert run.truncate_after(2) == [{"step": 1, "a": 0.5}, {"step": 2, "a": 1.0}]
        run.write_metrics(3, {"a": 9.0})
    assert _rows(tmp_path) == [{"step": 1, "a": 0.5}, {"step": 2, "a": 1.0}, {"step": 3, "a": 9.0}]
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == ["step_000001.jsonl", "step_000002.jsonl"]
    assert json.loads((tmp_path / "samples" / "step_000001.jsonl").read_text()) == {"text": "é\n", "score": None}


def test_only_a_run_that_did_all_its_steps_is_finished(tmp_path):
    """Catches a finished run that is trained again, and a run given more steps that is taken for finished."""
    config = _changed("run", max_steps=2)
    with create_or_open(tmp_path, config) as run:
        run.write_metrics(1, {})
        assert run_folder.finished(tmp_path, config) is None
        run.write_json("results.json", {"steps": 2, "seconds": 7.0})
    assert run_folder.finished(tmp_path, config) == {"steps": 2, "seconds": 7.0}
    assert run_folder.finished(tmp_path, _changed("run", max_steps=3)) is None
    other = dataclasses.replace(config, grpo=dataclasses.replace(config.grpo, epsilon=0.1))
    with pytest.raises(ValueError, match=r"grpo.epsilon \(0.2 -> 0.1\)"):
        run_folder.finished(tmp_path, other)
    (tmp_path / "results.json").write_text('{"steps"')
    assert run_folder.finished(tmp_path, config) is None


@pytest.mark.parametrize("made", ["start/0", "checkpoints/20"])
def test_another_configuration_is_refused_and_every_differing_key_named(tmp_path, made):
    create_or_open(tmp_path, Config()).close()
    (tmp_path / made).mkdir(parents=True)
    before = (tmp_path / "config.yaml").read_text()
    other = _changed("grpo", epsilon=0.1, beta=(0.0, 0.5, 0.5))
    with pytest.raises(ValueError, match=r"grpo.epsilon \(0.2 -> 0.1\), grpo.beta \(\[0.0, 0.0, 0.0\] -> .*output_dir"):
        create_or_open(tmp_path, other)
    assert (tmp_path / "config.yaml").read_text() == before


def test_a_launch_that_made_nothing_binds_nobody(tmp_path):
    """A typing mistake put right once needed another folder, or a deleted one."""
    create_or_open(tmp_path, _changed("grpo", row_length=2)).close()
    (tmp_path / "start" / "0.orbax-checkpoint-tmp-1").mkdir(parents=True)  # cut off in mid-save
    (tmp_path / "checkpoints").mkdir()
    create_or_open(tmp_path, Config()).close()
    assert config_module.load(tmp_path / "config.yaml") == Config()


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_a_rate_that_falls_to_0_fixes_the_last_step(tmp_path, kind):
    held = dataclasses.replace(Config(), optimizer=config_module.OptimizerConfig(lr_scheduler_type=kind))
    with create_or_open(tmp_path, held) as run:
        run.write_metrics(1, {})
    longer = dataclasses.replace(held, run=dataclasses.replace(held.run, max_steps=500))
    if kind == "constant":
        create_or_open(tmp_path, longer).close()
        return
    with pytest.raises(ValueError, match=r"run.max_steps \(100 -> 500\)"):
        create_or_open(tmp_path, longer)


def test_evaluations_of_steps_that_will_be_done_again_go(tmp_path):
    with create_or_open(tmp_path, Config()) as run:
        for step in (0, 2, 4):
            run.write_json(f"evaluation/step_{step:06d}.json", {})
        run.truncate_after(2)
    assert sorted(p.name for p in (tmp_path / "evaluation").iterdir()) == ["step_000000.json", "step_000002.json"]


def test_a_field_that_is_new_since_the_run_was_made_had_its_default(tmp_path):
    """Catches a field added to the code that makes every older run folder another configuration's."""
    with create_or_open(tmp_path, Config()) as run:
        run.write_metrics(1, {})
    file = tmp_path / "config.yaml"
    older = file.read_text().replace("  epsilon: 0.2\n", "")
    file.write_text(older)
    create_or_open(tmp_path, Config()).close()
    file.write_text(older)
    with pytest.raises(ValueError, match=r"grpo.epsilon \(0.2 -> 0.3\)"):
        create_or_open(tmp_path, _changed("grpo", epsilon=0.3))
    file.write_text(older.replace("grpo:\n", "grpo:\n  old_name: 0.2\n"))
    with pytest.raises(ValueError, match=r"grpo.old_name \(0.2 -> not set\)"):
        create_or_open(tmp_path, Config())


def test_a_run_may_be_extended_and_moved(tmp_path):
    with create_or_open(tmp_path, Config()) as run:
        run.write_metrics(1, {})
    longer = _changed("run", max_steps=500, output_dir="elsewhere", compilation_cache_dir="")
    create_or_open(tmp_path, longer).close()
    assert config_module.load(tmp_path / "config.yaml") == longer


def test_two_processes_cannot_write_one_run(tmp_path):
    with create_or_open(tmp_path, Config()):
        with pytest.raises(ValueError, match="another process is writing this run"):
            create_or_open(tmp_path, Config())
    create_or_open(tmp_path, Config()).close()


def test_a_killed_process_leaves_no_lock_behind(tmp_path):
    """A lock file that outlives kill -9 would block the very restart it is for."""
    code = """
        import os, sys, signal
        from jaxreason.run import folder as run_folder
        from jaxreason.run import files
        from jaxreason.config import Config
        run = run_folder.create_or_open(sys.argv[1], Config())
        run.write_metrics(1, {"a": 1.0})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=False)
    assert done.returncode == -9
    with create_or_open(tmp_path, Config()) as run:
        assert run.truncate_after(1) == [{"step": 1, "a": 1.0}]


def test_a_refused_folder_is_not_left_locked(tmp_path):
    with create_or_open(tmp_path, Config()) as run:
        run.write_metrics(1, {})
    with pytest.raises(ValueError, match="another configuration"):
        create_or_open(tmp_path, _changed("run", seed=1))
    create_or_open(tmp_path, Config()).close()


def test_unusable_folders_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"run.output_dir: cannot write to .*file/run"):
        create_or_open(tmp_path / "file" / "run", Config())
    with pytest.raises(ValueError, match="expected a local folder"):
        create_or_open("gs://bucket/run", Config())
    create_or_open(tmp_path / "run", Config()).close()
    (tmp_path / "run" / "config.yaml").write_text("{")
    with pytest.raises(ValueError, match=r"config.yaml: cannot be read"):
        create_or_open(tmp_path / "run", Config())


def test_other_processes_of_the_run_write_nothing(tmp_path):
    with create_or_open(tmp_path / "run", Config(), writer=False) as run:
        run.write_metrics(1, {"a": 1.0})
        run.write_samples(1, [{}])
        run.write_json("results.json", {})
        assert run.truncate_after(5) == []
    assert not (tmp_path / "run").exists()


def test_a_json_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "results.json"
    files.write_json_atomic(target, {"a": [1, float("nan")]})
    assert json.loads(target.read_text()) == {"a": [1, None]}

    class Unwritable(dict):
        def items(self):
            raise RuntimeError("cut off")

    with pytest.raises(RuntimeError):
        files.write_json_atomic(target, Unwritable())
    assert json.loads(target.read_text()) == {"a": [1, None]}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
