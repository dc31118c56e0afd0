"""Two processes of four devices each against one of eight: the same run, stopped and gone on with together."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import runs
from tests.helpers import TOLERANCE

SETTINGS = [
    "--model.num_key_value_heads=2",
    "--data.prompts_per_step=8",
    "--grpo.micro_batch_rows=8",
    "--sampling.num_generations=4",
    "--sampling.max_completion_length=32",
    "--warmup.max_steps=0",
    "--warmup.drill_steps=0",
    "--evaluation.greedy=false",
    "--data.demonstrations=100",
    "--reward.preset=scma",
    "--mesh.fsdp=4",
    "--mesh.tensor=2",
    "--grpo.dynamic_sampling=true",
    "--grpo.max_num_gen_batches=2",
    "--run.staleness=1",
]
pytestmark = pytest.mark.slow


def _start(folder, devices: int, *arguments: str) -> subprocess.Popen:
    return _command(devices, "train", runs.TINY, f"--run.output_dir={folder}", *SETTINGS, *arguments)


def _command(devices: int, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "jaxreason", *words, runs.NO_CACHE],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=runs.ROOT,
        start_new_session=True,
    )


def _two(folder, *arguments: str, second: tuple[str, ...] = ()) -> list[subprocess.Popen]:
    return [_start(folder, 4, *join, *arguments, *(second if n else ())) for n, join in enumerate(runs.flags_of_two())]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Two steps in one process."""
    folder = tmp_path_factory.mktemp("one") / "run"
    ((code, _, said),) = runs.end(_start(folder, 8, "--run.max_steps=2"))
    assert code == 0, said
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The same in two."""
    folder = tmp_path_factory.mktemp("two") / "run"
    (code, _, said), (other_code, screen, other_said) = runs.end(*_two(folder, "--run.max_steps=2"))
    assert (code, other_code) == (0, 0), said + other_said
    own = [line for line in screen.splitlines() if "peer ranks" not in line]
    assert not own, "a process that is not the first has nothing to say"
    return folder


def _compare(rows, expected_rows):
    assert [row["step"] for row in rows] == [row["step"] for row in expected_rows]
    for row, expected in zip(rows, expected_rows, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            if isinstance(value, int | float):
                np.testing.assert_allclose(
                    row[name], value, rtol=TOLERANCE["mesh"], atol=TOLERANCE["mesh"], err_msg=name
                )
            else:
                assert row[name] == value, name


def test_two_processes_train_what_one_trains(one, two):
    """Catches rows that a host reads in another order, that are graded by nobody or twice, a batch that differs between
    hosts, and a host that hangs in a collective the other never enters. One set of files is written."""
    assert runs.rows(one)[0]["grad_norm"] > 0
    _compare(runs.rows(two), runs.rows(one))
    assert runs.results(two)["trained"]["mean_tokens"] == runs.results(one)["trained"]["mean_tokens"]
    samples = "samples/step_000002.jsonl"
    texts = [[json.loads(line)["resps"] for line in (f / samples).read_text().splitlines()] for f in (one, two)]
    assert texts[0] == texts[1]
    answers = [(f / "evaluation/step_000002.jsonl").read_text() for f in (one, two)]
    assert answers[0] == answers[1]
    assert answers[0].count('"segment_cause"') == 16, "the helpers are asked by both processes"


def test_two_processes_evaluate_what_one_evaluates(two, tmp_path):
    """Answer for answer, with other slots, of which there are fewer than answers. Catches rows that are graded by
    nobody or twice, a file that both write, and a run whose own record of its processes (their address is long free)
    is joined again."""
    alone, together = tmp_path / "alone.json", tmp_path / "together.json"
    asked = ["evaluate", str(two)]
    assert runs.main([*asked, f"--output={alone}", runs.NO_CACHE, "--sampling.slots=12"]) == 0
    asked += ["--sampling.slots=8"]
    files = [together, tmp_path / "other.json"]
    (code, screen, said), (other_code, other_screen, other_said) = runs.end(
        *(_command(4, *asked, f"--output={file}", *join) for file, join in zip(files, runs.flags_of_two(), strict=True))
    )
    assert (code, other_code) == (0, 0), said + other_said
    assert f"written to {together}" in screen
    # Gloo's threads may write over each other there, so what counts is that none of the command's own lines appears.
    printed = {line for line in screen.splitlines() if line.strip() and "Gloo" not in line and "peer ranks" not in line}
    assert len(printed) > 1, "process 0 prints its figures"
    assert not printed & set(other_screen.splitlines()), "and no other does"
    assert not files[1].exists(), "process 0 writes"
    assert json.loads(together.read_text()) == json.loads(alone.read_text())
    assert together.with_suffix(".jsonl").read_text() == alone.with_suffix(".jsonl").read_text()


def test_a_signal_to_one_stops_both_at_the_same_step_and_one_process_goes_on(one, two, tmp_path):
    """Catches a signal that only its own process heeds (the other would wait forever), and a checkpoint of two
    processes that another number of processes, on another mesh, cannot read."""
    folder = tmp_path / "run"
    shutil.copytree(two, folder, ignore=shutil.ignore_patterns("results.json", "checkpoints", "hosts"))
    shutil.rmtree(folder / "samples")
    (folder / "metrics.jsonl").unlink()
    processes = _two(folder, "--run.max_steps=400")
    deadline = time.monotonic() + runs.TIMEOUT_S
    log = folder / "metrics.jsonl"
    while time.monotonic() < deadline and not (log.is_file() and log.read_text()):
        assert all(p.poll() is None for p in processes), runs.end(*processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    ended = runs.end(*processes)
    assert [code for code, *_ in ended] == [143, 143], ended
    stopped = {said.split("stopped ")[1].split(" and saved")[0] for *_, said in ended}
    assert len(stopped) == 1, stopped
    done = len(runs.rows(folder))
    assert stopped == {f"after step {done}"}
    saved = [int(p.name) for p in (folder / "checkpoints").iterdir() if p.name.isdigit()]
    assert max(saved) == done
    ((code, _, said),) = runs.end(
        _start(folder, 8, f"--run.max_steps={done + 1}", "--mesh.replica=2", "--mesh.fsdp=4", "--mesh.tensor=1")
    )
    assert code == 0, said
    assert len(runs.rows(folder)) == done + 1
    _compare(runs.rows(folder)[:1], runs.rows(one)[:1])


def test_processes_that_differ_are_refused(tmp_path):
    """Both say so in one line; otherwise they would train on different batches, or hang."""
    ended = runs.end(*_two(tmp_path / "run", "--run.max_steps=2", second=("--grpo.epsilon=0.1",)))
    for code, _, said in ended:
        assert code == 2
        (line,) = [line for line in said.splitlines() if line.startswith("jaxreason: ")]
        assert "process 1 has another configuration than process 0" in line
    assert not (tmp_path / "run").exists()
