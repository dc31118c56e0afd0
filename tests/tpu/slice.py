"""A Google Cloud that is played by tests/tpu/fake, and a repository of its own to launch from."""

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAKES = Path(__file__).parent / "fake"
# The machine's own gcloud, if it has one, must be out of reach: only these programs are on PATH.
TOOLS = (
    "awk basename bash cat chmod cp cut date df dirname env git grep head hostname mkdir mktemp mountpoint mv nohup "
    "realpath rm sed setsid sh sha256sum sleep sort tail touch tr uniq"
).split()
SETTINGS = {
    "PROJECT": "my-project",
    "ZONE": "us-west4-a",
    "TPU_NAME": "try-1",
    "ACCELERATOR_TYPE": "v5litepod-8",
    "BUCKET": "gs://bucket",
}


class Slice:
    """The played cloud in a folder: `run` a script, `start` one in the background, look at what was called."""

    def __init__(self, folder: Path):
        self.folder, self.fake, self.repository = folder, folder / "fake", folder / "repository"
        for place in ("bin", "worker_bin", "tools"):
            (self.fake / place).mkdir(parents=True)
            if place != "tools":
                gcloud = self.fake / place / "gcloud"
                gcloud.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{FAKES / "gcloud"}" "$@"\n')
                gcloud.chmod(0o755)
        (self.fake / "worker_bin" / "python3").symlink_to(FAKES / "python3")
        # The naps of the workers' scripts, whole seconds, in which nothing happens here.
        nap = self.fake / "worker_bin" / "sleep"
        nap.write_text(f"#!/bin/sh\nexec {shutil.which('sleep')} 0.1\n")
        nap.chmod(0o755)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.fake / "tools" / tool).symlink_to(found)
        shutil.copy(FAKES / "jaxreason", self.fake / "jaxreason")
        self.scenario_file = self.fake / "scenario.json"
        self.scenario_file.write_text(
            json.dumps({"state": [], "queue": [], "node": "READY", "workers": 1, "fail_ssh": 0, "bucket_error": ""})
        )
        self.scenario(queue=["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"])
        self.behave("finish")
        self.settings = dict(SETTINGS)
        self.started: list[subprocess.Popen] = []
        self.environment = {
            "PATH": f"{self.fake / 'bin'}:{self.fake / 'tools'}",
            "HOME": str(folder),
            "FAKE": str(self.fake),
            "TMPDIR": str(folder),
            "POLL_SECONDS": "0.2",
            "SSH_WAIT_SECONDS": "0",
            "BACKOFF_SECONDS": "0",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
        }
        self._make_repository()

    def _make_repository(self) -> None:
        shutil.copytree(ROOT / "tpu", self.repository / "tpu", ignore=shutil.ignore_patterns("env"))
        (self.repository / "configs").mkdir()
        for name in ("configs/demo.yaml", "pyproject.toml", "requirements.lock"):
            (self.repository / name).write_text(f"# {name}\n")
        (self.repository / ".gitignore").write_text("/tpu/env\n")
        self.git("init", "-q")
        self.git("config", "user.email", "a@b")
        self.git("config", "user.name", "a")
        self.commit()

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", self.repository, *words], env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", "state")

    def scenario(self, **changes) -> dict:
        """Change what is played; returns all of it."""
        with self.scenario_file.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            told = json.load(file) | changes
            file.seek(0)
            file.truncate()
            json.dump(told, file)
        return told

    def behave(self, how: str) -> None:
        """What the trainer does on the workers: wait, finish, crash or mistake."""
        temporary = self.fake / "behaviour.tmp"
        temporary.write_text(how)
        temporary.replace(self.fake / "behaviour")

    def start(self, script: str, *words: str, **environment: str) -> subprocess.Popen:
        text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in self.settings.items())
        (self.repository / "tpu" / "env").write_text(text)
        process = subprocess.Popen(
            ["bash", self.repository / "tpu" / script, *words],
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, script: str, *words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess:
        """Run a script to its end, and assert its exit code."""
        process = self.start(script, *words, **environment)
        try:
            out, err = process.communicate(timeout=300)  # against hanging; a busy machine is slow
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode == code, f"{script} {words}: exit {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(script, process.returncode, out, err)

    def ready(self) -> "Slice":
        """Create and set up, and forget the calls of it."""
        self.run("create.sh")
        self.run("setup.sh")
        self.forget()
        return self

    def forget(self) -> None:
        (self.fake / "calls.jsonl").write_text("")

    def calls(self) -> list[list[str]]:
        """Calls of gcloud from this side, each asked again at once counted once."""
        file = self.fake / "calls.jsonl"
        found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [call for i, call in enumerate(found) if i == 0 or call != found[i - 1]]

    def home(self, worker: int = 0) -> Path:
        return self.fake / f"worker{worker}"

    def until(self, done, what: str) -> None:
        """Wait for something that a process does."""
        for _ in range(1200):
            with contextlib.suppress(OSError):
                if done():
                    return
            time.sleep(0.1)
        raise AssertionError(f"waited in vain for {what}")

    def ended(self, worker: int = 0) -> None:
        self.until((self.home(worker) / "jaxreason-state" / "exit").exists, "the run's end")

    def argv(self, worker: int = 0) -> list[list[str]]:
        """What the trainer was called with, launch by launch."""
        lines = (self.home(worker) / "argv").read_text().split("\0\n")
        return [line.split("\0") for line in lines if line]

    def taken_away(self, state: str) -> None:
        """The slice is pre-empted: its processes end at once, its disks are lost; `state` of the queued resource."""
        self.scenario(state=[state], node="PREEMPTED")
        self.kill()
        for home in self.fake.glob("worker[0-9]*"):
            shutil.rmtree(home, ignore_errors=True)

    def close(self) -> None:
        """End what still runs: a babysitter that a failed test leaves would launch again, and fail other tests."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        self.kill()

    def kill(self) -> None:
        for home in self.fake.glob("worker[0-9]*"):
            for file in ("pid", "train.pid"):
                with contextlib.suppress(OSError, ValueError):
                    os.kill(int((home / "jaxreason-state" / file).read_text()), signal.SIGKILL)
