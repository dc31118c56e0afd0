"""Runs of configs/tiny.yaml for the tests: one warm start for all of them, and what is compared between runs."""

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxreason.cli import main

ROOT = Path(__file__).parents[1]
TINY = str(ROOT / "configs" / "tiny.yaml")
TIMEOUT_S = 500
NO_CACHE = "--run.compilation_cache_dir="
"""Leaves the cache to conftest.py, which sets one for the tests."""
AS_A_USER = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0", "XLA_FLAGS": ""}
"""Variables of a process whose programs are compiled as a user's are, not as conftest.py has it for the tests."""
ONE_DEVICE = "--mesh.fsdp=1"
"""What is not about meshes is quicker on one of the eight devices; a test's own setting comes later and wins."""


def shared(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made once for all processes of a test run; copy it, don't write to it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / f"{name}.made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (base / f"{name}.made").touch()
    return folder


def warm(tmp_path_factory) -> Path:
    """A run of no steps: data, tokenizer, warm-started policy and its evaluation."""

    def make(folder: Path) -> None:
        assert main(["train", TINY, NO_CACHE, ONE_DEVICE, "--run.max_steps=0", f"--run.output_dir={folder}"]) == 0

    return shared(tmp_path_factory, "warm", make)


def begin(warm_folder: Path, folder: Path) -> Path:
    """A folder that starts where the warm one ended, under any configuration with the same data and model."""
    for part in ("data", "tokenizer", "start", "evaluation"):
        shutil.copytree(warm_folder / part, folder / part)
    return folder


def train(folder: Path, *arguments: str) -> int:
    """`jaxreason train configs/tiny.yaml` into a folder, in this process; the exit code."""
    return main(["train", TINY, NO_CACHE, ONE_DEVICE, f"--run.output_dir={folder}", *arguments])


def process(
    folder: Path, *arguments: str, module: Sequence[str] = ("jaxreason",), **environment: str
) -> subprocess.Popen:
    """The same as a process and process group of its own.

    Args:
      module: what is run, with words before `train`.
      environment: variables of the process beside the tests' own.
    """
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            *module,
            "train",
            TINY,
            NO_CACHE,
            ONE_DEVICE,
            f"--run.output_dir={folder}",
            *arguments,
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def flags_of_two() -> list[list[str]]:
    """What tells each of two processes of the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = [f"--distributed.coordinator_address={address}", "--distributed.num_processes=2"]
    return [[*shared, f"--distributed.process_id={n}"] for n in (0, 1)]


def end(*processes: subprocess.Popen) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each, once all have ended; none is left behind."""
    try:
        return [(p.returncode, *told) for p in processes for told in [p.communicate(timeout=TIMEOUT_S)]]
    finally:
        for process in processes:
            process.kill()


def rows(folder: Path) -> list[dict]:
    """The metric rows of a run without what a clock decides."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if not k.startswith("time/") and k not in _CLOCKED} for line in lines
    ]


_CLOCKED = ("step_time", "tokens_per_second")


def results(folder: Path) -> dict:
    """What results.json holds, without what a clock or a restart decides."""
    found = json.loads((folder / "results.json").read_text())
    return {k: v for k, v in found.items() if k not in ("seconds", "steps_this_launch")}


def remove_checkpoint(folder: Path, step: int) -> None:
    """As if the run had been killed before it was written."""
    (folder / "results.json").unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoints" / str(step))


def events(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard would show of a run: scalar -> step -> value. A restart voids the steps it does again."""
    from tensorboardX.proto import event_pb2

    found: list[tuple[str, int, float]] = []
    for file in sorted((folder / "tb").iterdir()):
        content, at = file.read_bytes(), 0
        while at + 12 <= len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = event_pb2.Event.FromString(content[at + 12 : at + 12 + length])  # pyright: ignore
            at += 12 + length + 4
            if event.session_log.status:
                found = [kept for kept in found if kept[1] < event.step]
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    shown: dict[str, dict[int, float]] = {}
    for tag, step, value in found:
        assert step not in shown.setdefault(tag, {}), f"{tag} stands twice at step {step}"
        shown[tag][step] = value
    return shown
