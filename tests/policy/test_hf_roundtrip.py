"""Hugging Face checkpoints in and out: the same bits, on one device and on a mesh."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxreason.config import ModelConfig
from jaxreason.policy import api, hf_config, hf_export, hf_load, hf_names
from tests.policy import checkpoints

pytestmark = pytest.mark.slow

KINDS = sorted(checkpoints.CONFIGS)


def _same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].tobytes() == tensor.tobytes(), name


def _sharded(config, names=("a", "b")):
    """A 2x2 mesh over half the devices: the last two axes of every leaf that allows it, crosswise by rank."""
    mesh = jax.make_mesh((2, 2), names, devices=jax.devices()[:4], axis_types=(AxisType.Auto,) * 2)

    def sharding(leaf):
        axes = [None] * leaf.ndim
        for axis, name in zip(range(leaf.ndim - 1, -1, -1), names, strict=False):
            axes[axis] = name if leaf.shape[axis] % 2 == 0 else None
        return NamedSharding(mesh, PartitionSpec(*axes))

    return jax.tree.map(sharding, api.shapes(config))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "mesh"), [("bfloat16", True), ("float32", False)])
def test_what_is_loaded_and_exported_is_what_was_there(tmp_path, kind, dtype, mesh):
    """A transposed, swapped or misnamed tensor, a cast too many, a slice of another device: any of them shows."""
    tensors = checkpoints.random(checkpoints.CONFIGS[kind], dtype)
    source = checkpoints.write(tmp_path / "source", checkpoints.CONFIGS[kind], tensors, files=2)
    config = hf_config.model_config(source, ModelConfig(param_dtype=dtype))
    shardings = _sharded(config) if mesh else None
    params = hf_load.load(source, config, shardings)
    if shardings:
        placed = zip(jax.tree.leaves(params), jax.tree.leaves(shardings), strict=True)
        assert all(x.sharding.is_equivalent_to(asked, x.ndim) for x, asked in placed)
    to = hf_export.export(
        params, config, tmp_path / "to", tokenizer=source, source=source, dtype=dtype, part_bytes=20_000
    )
    _same_bits(checkpoints.read(to), tensors)
    index = json.loads((to / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == tensors.keys()
    assert index["metadata"]["total_size"] == sum(x.nbytes for x in tensors.values())
    assert {file.name for file in to.glob("*.safetensors")} == set(index["weight_map"].values())
    assert len(set(index["weight_map"].values())) > 1
    for name, text in checkpoints.OTHERS.items():
        if name == "model.bin":
            assert not (to / name).exists()
        else:
            assert (to / name).read_bytes() == text.encode()
    assert hf_config.model_config(to, config) == config


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_holds_the_tensors_where_the_model_reads_them(tmp_path, kind):
    """A round trip alone would hold for any permutation that is undone; here each leaf is compared by hand."""
    raw = checkpoints.CONFIGS[kind]
    t = checkpoints.random(raw, "float32")
    config = hf_config.model_config(checkpoints.write(tmp_path, raw, t))
    params = hf_load.load(tmp_path, config)
    np.testing.assert_array_equal(params["embed_tokens"], t["model.embed_tokens.weight"])
    np.testing.assert_array_equal(params["norm"]["scale"], t["model.norm.weight"])
    assert ("lm_head" in params) != raw["tie_word_embeddings"]
    if "lm_head" in params:
        np.testing.assert_array_equal(params["lm_head"], t["lm_head.weight"])
    for r, run in enumerate(config.layer_runs):
        stack = params["layers"][str(r)]
        for at in range(run.count):
            layer = f"model.layers.{run.first + at}."
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                np.testing.assert_array_equal(stack[name]["kernel"][at], t[f"{layer}self_attn.{name}.weight"].T)
            for name in ("input_layernorm", "post_attention_layernorm"):
                np.testing.assert_array_equal(stack[name]["scale"][at], t[f"{layer}{name}.weight"])
            if kind == "qwen2":
                for name in ("q_proj", "k_proj", "v_proj"):
                    np.testing.assert_array_equal(stack[name]["bias"][at], t[f"{layer}self_attn.{name}.bias"])
            elif kind in ("qwen3", "qwen3_moe"):
                for name in ("q_norm", "k_norm"):
                    np.testing.assert_array_equal(stack[name]["scale"][at], t[f"{layer}self_attn.{name}.weight"])
            for name in ("gate_proj", "up_proj", "down_proj"):
                if not run.sparse:
                    np.testing.assert_array_equal(stack[name]["kernel"][at], t[f"{layer}mlp.{name}.weight"].T)
                for e in range(config.num_experts if run.sparse else 0):
                    expert = t[f"{layer}mlp.experts.{e}.{name}.weight"]
                    np.testing.assert_array_equal(stack["experts"][name][at, e], expert.T)
            if run.sparse:
                np.testing.assert_array_equal(stack["router"]["kernel"][at], t[f"{layer}mlp.gate.weight"].T)


def test_names_and_shapes_are_the_hubs():
    for kind in KINDS:
        raw = checkpoints.CONFIGS[kind]
        config = hf_config.parse(raw, "here")
        assert hf_names.tensors(config) == checkpoints.shapes(raw)


def test_types_are_converted_to_nearest(tmp_path):
    """bfloat16 is exact in float32; the other way rounds to nearest even, as PyTorch does."""
    raw = checkpoints.CONFIGS["qwen3"]
    tensors = checkpoints.random(raw, "float32")
    source = checkpoints.write(tmp_path / "source", raw, tensors)
    config = hf_config.model_config(source, ModelConfig(param_dtype="bfloat16"))
    params = hf_load.load(source, config)
    assert all(x.dtype == "bfloat16" for x in jax.tree.leaves(params))
    rounded = {name: x.astype(ml_dtypes.bfloat16) for name, x in tensors.items()}
    wide = hf_export.export(params, config, tmp_path / "wide", tokenizer=source, source=source, dtype="float32")
    _same_bits(checkpoints.read(wide), {name: x.astype(np.float32) for name, x in rounded.items()})
    config = hf_config.model_config(source, ModelConfig(param_dtype="float32"))
    narrow = hf_export.export(
        hf_load.load(source, config), config, tmp_path / "narrow", tokenizer=source, source=source, dtype="bfloat16"
    )
    _same_bits(checkpoints.read(narrow), rounded)
    described = json.loads((narrow / "config.json").read_text())
    assert described["dtype"] == described["torch_dtype"] == "bfloat16"


def test_the_end_tokens_trained_with_are_written_beside_the_sources(tmp_path):
    """The source's generation_config.json was copied as it was: readers ran past the token that training ended with."""
    raw = checkpoints.CONFIGS["qwen3"]
    source = checkpoints.write(tmp_path / "source", raw, checkpoints.random(raw, "float32"))
    config = hf_config.model_config(source)
    special = {"eos_token_id": [5, 3], "pad_token_id": 1}
    to = hf_export.export(
        hf_load.load(source, config), config, tmp_path / "to", tokenizer=source, source=source, special=special
    )
    written = json.loads((to / "generation_config.json").read_text())
    assert written == {"eos_token_id": [5, 3, 2], "pad_token_id": 1, "temperature": 0.6}
    assert json.loads((to / "config.json").read_text())["eos_token_id"] == [5, 3, 2]

    (source / "generation_config.json").write_text('{"eos_token_id": 7, "pad_token_id": 0}')
    assert hf_export._generation(source / "generation_config.json", special) == {
        "eos_token_id": [5, 3, 7],
        "pad_token_id": 0,
    }
    assert hf_export._generation(None, special) == special


def test_every_tensor_is_told(tmp_path):
    """A progress bar that stops short, or goes over, would look like a hang."""
    for kind in KINDS:
        raw = checkpoints.CONFIGS[kind]
        source = checkpoints.write(tmp_path / kind, raw, checkpoints.random(raw, "bfloat16"))
        config = hf_config.model_config(source)
        loaded, written = [], []
        params = hf_load.load(source, config, advance=loaded.append)
        hf_export.export(params, config, tmp_path / f"{kind}-to", tokenizer=source, advance=written.append)
        assert sum(loaded) == sum(written) == hf_names.num_tensors(config) == len(checkpoints.shapes(raw))


def test_a_replicated_slice_is_read_once(tmp_path, monkeypatch):
    """Eight devices that hold the same slice must not read a checkpoint eight times."""
    raw = checkpoints.CONFIGS["qwen2"]
    source = checkpoints.write(tmp_path, raw, checkpoints.random(raw, "bfloat16"))
    config = hf_config.model_config(source)
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
    spec = PartitionSpec(None, "b")
    shardings = jax.tree.map(
        lambda x: NamedSharding(mesh, spec if x.ndim > 1 and x.shape[1] % 2 == 0 else PartitionSpec()),
        api.shapes(config),
    )
    read, elements = hf_load.Tensors.read, []

    def counted(self, name, index):
        found = read(self, name, index)
        elements.append(found.size)
        return found

    monkeypatch.setattr(hf_load.Tensors, "read", counted)
    hf_load.load(source, config, shardings)
    assert sum(elements) == sum(int(np.prod(shape)) for shape in checkpoints.shapes(raw).values())
