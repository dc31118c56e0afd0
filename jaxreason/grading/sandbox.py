"""A process that can do nothing but compute: bubblewrap, limits and a filter of system calls around `guest`.

Inside there are Python's own standard library and the system's libraries, read-only, and nothing else of this machine:
no file of anybody, no place to write, no network, no process but its own. It ends with whoever started it. Without
bubblewrap nothing is run at all.
"""

import functools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jaxreason.grading import guest, seccomp

MEMORY_BYTES = 2**30
"""Address space of one process; a program cannot make a second one."""
THREADS = 64
OPEN_FILES = 64
OUTPUT_BYTES = 16 * 2**20
"""Of one run of a program; one that prints more is ended."""
MESSAGE_BYTES = 2 * OUTPUT_BYTES
CPU_S = 600
"""A backstop: what takes too long is ended by the clock."""
FIRST_UID, UIDS = 61184, 4000
"""Where we are root, a program runs as one of these users; no account has them."""
INSTALL = "install bubblewrap (apt-get install bubblewrap, dnf install bubblewrap)"
IN_A_CONTAINER = (
    "unprivileged user namespaces have to be allowed: in Docker --security-opt seccomp=unconfined --security-opt "
    "apparmor=unconfined, on Ubuntu 24.04 sysctl kernel.apparmor_restrict_unprivileged_userns=0"
)
_GUEST = "/guest.py"
_PROBE_S = 20.0


class SandboxError(RuntimeError):
    """The sandbox failed, and not what runs in it."""


class TimeUp(Exception):
    """What runs in it did not answer in time."""


class TooLong(Exception):
    """What runs in it said more than MESSAGE_BYTES at once."""


class Guest:
    """One sandbox at work: messages go in and come out, see `guest`. A context manager, which ends it."""

    def __init__(self, mode: str, until: float, **setup: Any):
        """Start it.

        Args:
          mode: of `guest.MODES`.
          until: when to give up, in seconds of time.monotonic().
          setup: what the mode needs.

        Raises:
          SandboxError: it cannot be started, or was not within that time.
        """
        self.until = until
        self.buffer = bytearray()
        try:
            self.process = subprocess.Popen(
                command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env={}
            )
        except OSError as error:
            raise SandboxError(f"bwrap: {error.strerror or error}; {INSTALL}") from None
        assert self.process.stdin is not None  # pipes were asked for
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.input, False)
        limits = {
            "RLIMIT_AS": MEMORY_BYTES,
            "RLIMIT_NPROC": THREADS,
            "RLIMIT_NOFILE": OPEN_FILES,
            "RLIMIT_CPU": CPU_S,
            "RLIMIT_CORE": 0,
        }
        common = {
            "mode": mode,
            "uid": 0 if os.geteuid() else FIRST_UID + os.getpid() % UIDS,
            "limits": limits,
            "output_bytes": OUTPUT_BYTES,
            "filter": seccomp.program().hex(),
        }
        try:
            self.send(common | setup)
            started = self.receive()
        except TimeUp:
            self.close()
            raise SandboxError("bwrap: not started in time") from None
        if started != {"ready": True}:
            raise SandboxError(f"bwrap: {self._complaint()}")

    def send(self, message: dict) -> None:
        """Hand a message in. One that has ended takes anything; `receive` says so.

        Raises:
          TimeUp: it did not take it.
        """
        line = memoryview(json.dumps(message).encode() + b"\n")
        while line:
            if not select.select([], [self.input], [], self._left())[1]:
                raise TimeUp
            try:
                line = line[os.write(self.input, line) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                return

    def receive(self) -> dict | None:
        """Its next message; None where it has ended or says what is no message.

        Raises:
          TimeUp: it said nothing in time.
          TooLong: too much.
        """
        looked = 0
        while (end := self.buffer.find(b"\n", looked)) < 0:
            if (looked := len(self.buffer)) > MESSAGE_BYTES:
                raise TooLong
            if not select.select([self.output], [], [], self._left())[0]:
                raise TimeUp
            piece = os.read(self.output, 1 << 16)
            if not piece:
                return None
            self.buffer += piece
        line, self.buffer = self.buffer[:end], self.buffer[end + 1 :]
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def close(self) -> None:
        """End it, and everything in it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    def __enter__(self) -> "Guest":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _left(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def _complaint(self) -> str:
        """What bwrap or Python said of a start that failed."""
        self.process.kill()
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        self.close()
        return said[-1].removeprefix("bwrap: ") if said else f"ended with status {self.process.returncode}"


@functools.cache
def command() -> list[str]:
    """How a sandbox is started.

    Raises:
      SandboxError: there is no bwrap.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError(f"expected bubblewrap's bwrap, which runs programs without harm, got none; {INSTALL}")
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    shown = [Path("/usr"), Path(sys.base_prefix).resolve()]
    args = [bwrap, "--die-with-parent", "--new-session", "--clearenv"]
    args += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if os.geteuid() == 0:  # it gives up the last two for good before it reads a program
        args += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    args += _shown(shown)
    for folder in ("lib", "lib64", "lib32"):
        at = Path("/", folder)
        if at.is_symlink():
            args += ["--symlink", str(at.readlink()), str(at)]
        elif at.is_dir():
            args += ["--ro-bind", str(at), str(at)]
    args += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--dir", "/dev"]
    for device in ("/dev/null", "/dev/zero", "/dev/urandom"):
        args += ["--dev-bind", device, device]
    args += ["--ro-bind", str(Path(guest.__file__).resolve()), _GUEST, "--remount-ro", "/", "--chdir", "/"]
    return [*args, str(python), "-I", "-S", "-B", "-X", "utf8", _GUEST]


def _shown(folders: list[Path]) -> list[str]:
    """Arguments that show folders read-only, the way to each open to any user."""
    args: list[str] = []
    for folder in folders:
        if any(folder.is_relative_to(other) for other in folders if other != folder):
            continue
        for parent in reversed(folder.parents[:-1]):
            args += ["--dir", str(parent)]
        args += ["--ro-bind", str(folder), str(folder)]
    return args


@functools.cache
def unavailable() -> str:
    """Why this machine has no sandbox and what to do, in a line; empty where one was made and worked."""
    if not sys.platform.startswith("linux"):
        return f"expected Linux with bubblewrap, got {sys.platform}; take a Linux machine or container"
    try:
        with Guest("stdin", time.monotonic() + _PROBE_S, program="print(input())", prelude="") as probe:
            probe.send({"stdin": "works"})
            found = probe.receive()
    except (SandboxError, ValueError) as error:
        text = str(error)
        return text if INSTALL in text or "processor" in text else f"{text}; {IN_A_CONTAINER}"
    except TimeUp:
        return f"bwrap: nothing came back in {_PROBE_S:.0f} s; {IN_A_CONTAINER}"
    return "" if found == {"out": "works\n"} else f"bwrap: expected a program to print, got {found}; {IN_A_CONTAINER}"
