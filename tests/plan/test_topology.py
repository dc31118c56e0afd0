"""Names of topologies, and what is said without libtpu."""

import subprocess
import sys

import pytest

from jaxreason.plan import topology
from tests.runs import ROOT, TINY


@pytest.mark.parametrize(
    ("name", "expected", "devices"),
    [
        ("v5e:4x4", "v5e:4x4", 16),
        ("v5litepod-16", "v5e:4x4", 16),
        ("v6e-64", "v6e:8x8", 64),
        ("v5p-32", "v5p:2x2x4", 16),
        ("v5p-128", "v5p:4x4x4", 64),
        ("v4-32", "v4:2x2x4", 16),
        ("tpu7x:2x2x1", "tpu7x:2x2x1", 8),
    ],
)
def test_a_topology_by_shape_or_product(name, expected, devices):
    """Catches a product whose number counts cores taken for chips: half the memory, or twice."""
    found = topology.parse(name)
    assert (found.name, found.devices) == (expected, devices)
    assert topology.parse(name, slices=3).devices == 3 * devices


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e:16x32", "expected v5e: and one of 1x1, 2x2"),  # libtpu ends the process on it
        ("v6e:32x32", "expected v6e: and one of"),  # libtpu takes it
        ("v5p-30", "expected v5p- and one of 8, 16, 32"),
        ("v7x:2x2x1", "expected a family of v4, v5e"),
        ("v5p", "expected v5p: and one of"),
        ("", "expected a family of"),
    ],
)
def test_what_does_not_exist_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        topology.parse(name)


def test_without_libtpu_the_extra_is_named():
    """In a process where it cannot be imported, whatever is installed here."""
    code = (
        "import importlib.util, sys; real = importlib.util.find_spec; "
        "importlib.util.find_spec = lambda name, *a: None if name == 'libtpu' else real(name, *a); "
        "from jaxreason.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "plan", TINY, "--topology", "v5e:2x2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "pip install 'jaxreason[tpu]'" in done.stderr
    assert done.stderr.count("\n") == 1
