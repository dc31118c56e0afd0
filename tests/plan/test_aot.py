"""A tiny configuration compiled for TPUs."""

import importlib.util
import json

import pytest

from jaxreason.cli import main
from tests.released import tiny_config
from tests.runs import ROOT

pytestmark = pytest.mark.slow

SHAPE = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 128}
SETTINGS = [
    "--data.prompts_per_step=16",
    "--data.max_prompt_length=96",
    "--sampling.num_generations=2",
    "--sampling.max_completion_length=160",  # two parts of the cache
    "--grpo.row_length=256",
    "--grpo.micro_batch_rows=16",
    "--reward.preset=grpo",
    "--model.remat=false",  # of so few layers, unrolled, XLA merges what is made twice
    "--mesh.tensor=2",
]


@pytest.mark.tpu_aot
# A chip of one device and one of two; the kernels are compiled for every generation in tests/ops/.
@pytest.mark.parametrize("topology", ["v5e:2x4", "tpu7x:2x2x1"])
def test_a_step_compiles(topology, tmp_path, capsys):
    """Catches what only the chip's compiler refuses (tiles, VMEM, sharding), a state held twice, a product repeated on
    several devices, and memory far above what the tensors add up to. The model is a config.json and nothing else."""
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs libtpu, which compiles for TPUs on any x86-64 Linux: pip install jaxreason[tpu]")
    (tmp_path / "config.json").write_text(json.dumps(tiny_config("qwen3") | SHAPE))
    config = str(ROOT / "configs" / "scma_qwen3_0.6b_gsm8k.yaml")
    asked = ["plan", config, f"--model.path={tmp_path}", "--topology", topology, "--json", *SETTINGS]
    code = main(asked)
    said = capsys.readouterr()
    assert code == 0, said.err
    found = json.loads(said.out)
    assert found["devices"] == 8
    assert found["mesh"] == {"replica": 1, "fsdp": 4, "tensor": 2}
    programs = {program["name"]: program for program in found["programs"]}
    assert set(programs) == {"update", "sample reason"}
    for program in programs.values():
        assert program["fits"]
        assert 0 < program["peak_gib"] < 0.5
        assert program["bound_s"] > 0
        assert 0 < program["mfu"] < 1
    assert programs["update"]["state_aliased"]
    assert programs["update"]["flops_compiled"] == pytest.approx(programs["update"]["flops"], rel=0.02)
    assert programs["sample reason"]["flops_compiled"] < 1.02 * programs["sample reason"]["flops"]
