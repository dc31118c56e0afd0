"""What a run ran on and with, as its folder records it and the processes of a launch compare it."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from jaxreason.config import Config, to_dict

_PACKAGES = ("jaxreason", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "transformers", "math-verify")


def environment() -> dict:
    """What a run ran on and with: versions, git commit and whether it was modified, devices, command."""
    import jax

    devices = jax.devices()
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "git": _git(Path(__file__).parent),
        "devices": {
            "platform": devices[0].platform,
            "kind": devices[0].device_kind,
            "count": len(devices),
            "processes": jax.process_count(),
        },
        "host": {"platform": platform.platform(), "cpus": os.cpu_count()},
    }


def launch_identity(config: Config) -> dict[str, Any]:
    """What all processes of a launch must share: the configuration, the code and the packages."""
    shared = {name: section for name, section in to_dict(config).items() if name != "distributed"}
    return {
        "configuration": json.dumps(shared),
        "code": _git(Path(__file__).parent),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path) -> dict | None:
    """Commit of the code, and whether it was changed since; None outside a repository."""
    try:
        run = [
            subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, timeout=10, check=True)
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return {"sha": run[0].stdout.strip(), "dirty": bool(run[1].stdout.strip())}
