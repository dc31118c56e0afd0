"""What this machine has for a run: versions, devices, memory, folders, and the optional parts with what each is for.

Every finding says what it means and, where something is missing, what to do. It changes nothing on the machine.
"""

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxreason.grading import sandbox
from jaxreason.run import memory, provenance
from jaxreason.run.memory import in_gib

OPTIONAL = {
    "torch": ("live comparison with transformers (make test-parity)", "pip install torch"),
    "wandb": ("run.report_to=[wandb]", "pip install wandb"),
    "trackio": ("run.report_to=[trackio]", "pip install trackio"),
    "matplotlib": ("the notebooks' figures", "pip install 'jaxreason[notebooks]'"),
    "mkdocs": ("this documentation (make docs)", "pip install 'jaxreason[docs]'"),
}
"""Package -> what it is for, and how to get it."""
LITTLE = 2 * memory.GIB
"""Free space below which a run's checkpoints are in danger."""


class Finding(NamedTuple):
    """One line."""

    group: str
    name: str
    value: str
    remedy: str = ""
    """what to do; empty: all is well"""


def findings(cache: str) -> Iterator[Finding]:
    """Everything that is looked at, in order.

    Args:
      cache: folder of compiled programs, as in run.compilation_cache_dir; empty: none.
    """
    yield from _versions()
    yield from _devices()
    yield from _places(cache)
    for package, (use, how) in OPTIONAL.items():
        there = importlib.util.find_spec(package) is not None
        yield Finding("optional", package, f"{'there' if there else 'missing'}; {use}", "" if there else how)
    missing = sandbox.unavailable()
    yield Finding(
        "optional", "bwrap", f"{'no sandbox' if missing else 'there'}; code problems (data.task=code)", missing
    )


def _versions() -> Iterator[Finding]:
    found = provenance.environment()
    yield Finding("versions", "python", f"{found['python']} on {platform.platform()}")
    for name, version in found["versions"].items():
        remedy = "" if version else "pip install -r requirements.lock"
        yield Finding("versions", name, version or "missing", remedy)
    if found["git"]:
        yield Finding("versions", "commit", found["git"]["sha"][:12] + (" (modified)" if found["git"]["dirty"] else ""))


def _devices() -> Iterator[Finding]:
    import jax

    devices, kind = jax.devices(), jax.default_backend()
    yield Finding("devices", kind, f"{len(devices)} x {devices[0].device_kind}", _idle_accelerator(kind))
    there = memory.of_device()
    if there:
        yield Finding("devices", "memory", f"{in_gib(there.free)} free of {in_gib(there.limit)} each")
    machine = memory.of_machine()
    if machine and kind != "cpu":
        yield Finding("devices", "main memory", f"{in_gib(machine.free)} free of {in_gib(machine.limit)}")
    yield Finding("devices", "processors", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} for this process")
    version = getattr(getattr(jax.devices()[0], "client", None), "platform_version", "")
    if version and kind != "cpu":
        yield Finding("devices", "driver", " ".join(version.split()))


def _idle_accelerator(kind: str) -> str:
    """What to install where JAX does not see an accelerator that the machine has."""
    if kind == "cpu" and shutil.which("nvidia-smi"):
        return "an NVIDIA GPU is here and JAX does not see it: pip install 'jax[cuda13]'"
    if kind == "cpu" and any(Path("/dev").glob("accel*")):
        return "a TPU is here and JAX does not see it: pip install 'jaxreason[tpu]'"
    return ""


def _places(cache: str) -> Iterator[Finding]:
    here = shutil.disk_usage(Path.cwd())
    remedy = "make room; checkpoints of a run go below run.output_dir" if here.free < LITTLE else ""
    yield Finding("places", str(Path.cwd()), f"{in_gib(here.free)} free", remedy)
    if cache:
        folder = Path(cache).expanduser()
        files = [file.stat().st_size for file in folder.rglob("*") if file.is_file()] if folder.is_dir() else []
        value = f"{len(files)} files, {in_gib(sum(files))}" if files else "empty; the first steps of a run will compile"
        yield Finding("places", f"compiled programs, {folder}", value)
    hub = Path(os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "hub")
    models = sorted(hub.expanduser().glob("models--*"))
    names = ", ".join(folder.name.removeprefix("models--").replace("--", "/") for folder in models[:5])
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") == "1" else ""
    yield Finding("places", f"Hugging Face hub, {hub}", (names or "no models yet") + offline)
