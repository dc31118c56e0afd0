"""Eight CPU devices and strict broadcasting for every test, set before JAX starts.

JAX reads these variables when it is first imported, and pytest loads this file before any test module. The
compilation cache makes a second run of the suite quick; nothing depends on it. A variable that is already set wins,
so that a test marked `gpu` or `tpu` can be run on its device.

The tests run tiny programs a few times each, so most of their time would go into compiling: XLA for the CPU leaves out
its costly optimisations, in the processes that tests start as well. That changes no test: what is compared bit for bit
is compared between programs made in the same way. The TPU's compiler works as it does for a user, and for a test
marked `optimised` XLA optimises. What XLA_FLAGS say holds for the whole process: only a test that starts one with
`runs.AS_A_USER` gets the CPU programs of a user to the last digit.
"""

import gc
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path("~/.cache/jaxreason/xla-tests").expanduser()))
# Small programs too: each of the processes that tests start would compile dozens of them again.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# XLA's older emitter of fused loops compiles in a third of the time, and one LLVM module for each program is quicker to
# make than several. An XLA that no longer knows a flag ends with its name: take the flag out then.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# No test needs the network; without these a missing file costs seconds of retries before its error.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import hypothesis
import pytest

# The first example compiles, so a deadline would fail it; examples are few since most of them trace a program.
hypothesis.settings.register_profile("jaxreason", deadline=None, max_examples=25, derandomize=True)
hypothesis.settings.load_profile("jaxreason")


MANY_MAPPINGS = 30_000
"""Linux gives a process 65,530; each compiled program takes some, and a worker of the whole suite makes thousands."""


# Tracing makes many small objects that live, and Python's thresholds have it look for garbage among them too often.
gc.set_threshold(50_000, 20, 50)


def pytest_collection_modifyitems(items):
    """Files with slow tests first: a worker that begins a minute's test last leaves the others with nothing to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs():
    """Let go of compiled programs before a worker has no mapping left, which would be a crash in some other test."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MANY_MAPPINGS:
        import jax

        jax.clear_caches()


@pytest.fixture(autouse=True)
def _all_of_the_compiler(request):
    """Programs as a user gets them: for a TPU (memory, FLOPs), beside another implementation, for sums that agree in
    more digits than XLA keeps when it splits them without its optimisations."""
    if not {"tpu_aot", "torch", "optimised"} & set(request.keywords):
        yield
        return
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1")
