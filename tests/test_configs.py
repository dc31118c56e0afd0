"""The configurations of real runs, on config.json files of the released shapes; no weights, nothing is computed."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from jaxreason.agents import sizes
from jaxreason.config import load
from jaxreason.data import tokenizer as tokenizers_room
from jaxreason.grpo import batch
from jaxreason.policy import api
from jaxreason.run import base_model, setup
from tests.released import tensors, tiny_config, write_tokenizer

CONFIGS = Path(__file__).parents[1] / "configs"
_SHARED = {
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "max_window_layers": 64,
    "tie_word_embeddings": False,
}


def _shape(width, inner, layers, heads, few, **rest):
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    return _SHARED | dict(zip(names, (width, inner, layers, heads, few), strict=True)) | rest


RELEASED = {  # hub id: class, the released shape, parameters as the hub counts them
    "Qwen/Qwen3-0.6B": (
        "qwen3",
        _shape(1024, 3072, 28, 16, 8, head_dim=128, tie_word_embeddings=True),
        596_049_920,
    ),
    "Qwen/Qwen3-8B": ("qwen3", _shape(4096, 12288, 36, 32, 8, head_dim=128), 8_190_735_360),
    "Qwen/Qwen3-4B-Instruct-2507": (
        "qwen3_instruct",
        _shape(2560, 9728, 36, 32, 8, head_dim=128, tie_word_embeddings=True, max_position_embeddings=262144),
        4_022_468_096,
    ),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": (
        "qwen3_moe",
        _shape(
            2048,
            6144,
            48,
            32,
            4,
            head_dim=128,
            num_experts=128,
            num_experts_per_tok=8,
            moe_intermediate_size=768,
            max_position_embeddings=262144,
        ),
        30_532_122_624,
    ),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": (
        "r1_distill",
        _shape(1536, 8960, 28, 12, 2, max_position_embeddings=131072),
        1_777_088_000,
    ),
}
EXPERIMENTS = [path for path in sorted(CONFIGS.glob("*.yaml")) if not path.stem.startswith("compare_")]
REAL = [path for path in EXPERIMENTS if load(path).model.path]


def test_every_class_of_the_papers_has_a_configuration():
    assert {load(path).model.path for path in REAL} == set(RELEASED)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_real_configuration_fits_its_model(path, tmp_path):
    """What would otherwise be told after an hour of downloading: lengths, shapes, positions, shares."""
    written = load(path)
    kind, shape, count = RELEASED[written.model.path]
    write_tokenizer(tmp_path, kind)
    described = tiny_config({"r1_distill": "qwen2", "qwen3_moe": "qwen3_moe"}.get(kind, "qwen3")) | shape
    (tmp_path / "config.json").write_text(json.dumps(described))
    config, base = base_model.find(load(path, [f"--model.path={tmp_path}"]))
    assert base is not None
    tok = tokenizers_room.load(tmp_path)
    config = setup.with_vocabulary(config, tok)
    setup.refuse_overlong(config, tok)
    roles = setup.played_by_policy(config)
    # The stand-in's words are cut into more tokens than Qwen's, so real prompts need less.
    longest = max(length for role, length in sizes.row_limits(config, tok).items() if role in roles)
    assert longest <= config.grpo.row_length < 1.2 * longest
    assert config.reward.target_length <= config.sampling.max_completion_length
    assert config.model.param_dtype == "float32" or config.lora.wanted  # what is trained is
    batch.mini_batches(config.data.prompts_per_step, config.grpo.num_mini_batches)
    params = api.shapes(config.model)
    assert sum(x.size for x in jax.tree.leaves(params)) == count == _size(described)
    row = jax.ShapeDtypeStruct((1, config.grpo.row_length), jnp.int32)
    logp, _ = jax.eval_shape(functools.partial(api.token_logp, config=config.model), params, row, row, row)
    assert logp.shape == row.shape


def _size(described):
    return sum(functools.reduce(lambda a, b: a * b, shape) for shape in tensors(described).values())


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_real_configuration_says_what_it_takes(path):
    """Command, hardware and hours, marked as the estimates they are."""
    head = path.read_text().split("run:")[0]
    assert f"jaxreason train configs/{path.name}" in head
    for line in ("# Data:", "# Command:", "# Hardware:", "# Time:"):
        assert line in head
    assert head.count("not run)") >= 2
