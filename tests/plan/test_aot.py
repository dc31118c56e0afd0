"""A tiny configuration compiled for each generation of TPU."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.runs import ROOT, TINY

SETTINGS = [
    "--model.num_key_value_heads=2",
    "--model.hidden_size=256",
    "--model.head_dim=128",
    "--model.intermediate_size=512",
    "--model.num_hidden_layers=2",
    "--model.dtype=bfloat16",
    "--data.prompts_per_step=16",
    "--grpo.micro_batch_rows=16",
    "--warmup.max_steps=0",
    "--warmup.drill_steps=0",
    "--reward.preset=grpo",
    "--mesh.tensor=2",
]


@pytest.mark.tpu_aot
@pytest.mark.parametrize("topology", ["v5e:2x4", "v5p:2x2x2", "v6e:2x4", "tpu7x:2x2x1"])
def test_a_step_compiles(topology):
    """Catches what only the chip's compiler refuses (tiles, VMEM, sharding), a state held twice, a product repeated on
    several devices, and memory far above what the tensors add up to."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu, which compiles for TPUs on any x86-64 Linux: pip install jaxreason[tpu]")
    command = [sys.executable, "-m", "jaxreason", "plan", TINY, "--topology", topology, "--json", *SETTINGS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"] == 8
    assert found["mesh"] == {"replica": 1, "fsdp": 4, "tensor": 2}
    programs = {program["name"]: program for program in found["programs"]}
    assert set(programs) == {"update", "sample reason"}
    for program in programs.values():
        assert program["fits"]
        assert 0 < program["peak_gib"] < 0.5
        assert program["bound_s"] > 0
    assert programs["update"]["state_aliased"]
    assert programs["update"]["flops_compiled"] == pytest.approx(programs["update"]["flops"], rel=0.02)
    assert programs["sample reason"]["flops_compiled"] < 1.02 * programs["sample reason"]["flops"]
