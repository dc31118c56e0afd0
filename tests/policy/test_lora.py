"""Adapters beside frozen weights: the same policy as with dense weights W + alpha / r A B, in values and gradients."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxreason.config import Config, LoraConfig, ModelConfig
from jaxreason.policy import adapted, api, footprint, lora, lora_export
from tests.helpers import TOLERANCE
from tests.reference import transformer as reference

MODEL = ModelConfig(
    vocab_size=29,
    hidden_size=20,
    intermediate_size=36,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=6,
    sliding_window=16,
    sliding_layers=(2,),
    initializer_range=0.3,
)
"""Two runs of layers (the window is wider than a row); of a layer only k and v, gate and up have one shape."""
LORA = LoraConfig(r=3, lora_alpha=6.0)
TOKENS = np.random.default_rng(0).integers(0, 29, (2, 9))
POSITIONS = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 2, 3, 0, 1, 2, 3, 4]])
SEGMENTS = np.array([[1] * 9, [1] * 4 + [2] * 5])


def _base(model: ModelConfig = MODEL):
    return api.init(jax.random.key(0), model)


def _trained(base, config: LoraConfig = LORA):
    """Adapters after some training: no factor is 0."""
    new = lora.initial(base, config, seed=7)
    keys = iter(jax.random.split(jax.random.key(1), len(jax.tree.leaves(new))))
    return jax.tree.map(lambda x: x + 0.2 * jax.random.normal(next(keys), x.shape), new)


def _dense(base, adapters, scale: float):
    """Plain weights, summed in NumPy."""
    found = jax.tree.map(np.asarray, base)
    for run, modules in adapters["layers"].items():
        for module, factors in modules.items():
            a, b = (np.asarray(factors[name], np.float64) for name in ("lora_A", "lora_B"))
            kernel = found["layers"][run][module]["kernel"]
            found["layers"][run][module]["kernel"] = np.stack(
                [w + scale * x @ y for w, x, y in zip(kernel, a, b, strict=True)]
            )
    return found


def _logits(params, model: ModelConfig = MODEL):
    return api.logits(params, jnp.asarray(TOKENS), jnp.asarray(POSITIONS), jnp.asarray(SEGMENTS), config=model)


def _logp(params, model: ModelConfig = MODEL):
    asked = (jnp.asarray(x) for x in (TOKENS, POSITIONS, SEGMENTS))
    return api.token_logp(params, *asked, config=model)[0]


def test_new_adapters_change_no_bit():
    """Training begins at the policy that its data comes from: in its log-probabilities, and in what decoding reads."""
    base = _base()
    new = lora.policy(lora.initial(base, LORA, seed=7), base, LORA)
    np.testing.assert_array_equal(_logp(new), _logp(base))
    unstack = jax.jit(api.unstack, static_argnames="config")
    jax.tree.map(np.testing.assert_array_equal, unstack(new, config=MODEL), unstack(base, config=MODEL))
    a, b = (new.adapters["layers"]["0"]["q_proj"][name] for name in ("lora_A", "lora_B"))
    assert not b.any()
    assert 0.9 * 20**-0.5 < np.abs(a).max() <= 20**-0.5  # PEFT's: uniform within 1 / sqrt(in)
    others = [modules["gate_proj"]["lora_A"].ravel()[:8] for modules in new.adapters["layers"].values()]
    assert not np.array_equal(*others), "two adapters drawn by one key"


@pytest.mark.parametrize("remat", [False, True])
def test_logits_are_those_of_dense_weights(remat):
    """A factor turned, a scale forgotten or taken twice, a layer given its neighbour's adapter."""
    base, model = _base(), dataclasses.replace(MODEL, remat=remat)
    adapters = _trained(base)
    dense = _dense(base, adapters, scale=2.0)
    found = _logits(lora.policy(adapters, base, LORA), model)
    for row in range(2):
        expected = reference.logits(dense, TOKENS[row], POSITIONS[row], SEGMENTS[row], MODEL)
        np.testing.assert_allclose(found[row], expected, rtol=TOLERANCE["logits"], atol=TOLERANCE["logits"])
    assert np.abs(found - _logits(base)).max() > 100 * TOLERANCE["logits"]


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_are_those_of_dense_weights(remat):
    """By the chain rule from the dense gradient G: s G B^T and s A^T G, of every adapter."""
    base, model = _base(), dataclasses.replace(MODEL, remat=remat)
    adapters = _trained(base)
    weight = jnp.asarray(np.random.default_rng(2).normal(size=TOKENS.shape)) * (POSITIONS > 0)
    found = jax.grad(lambda a: (weight * _logp(lora.policy(a, base, LORA), model)).sum())(adapters)
    dense = jax.tree.map(jnp.float32, _dense(base, adapters, scale=2.0))
    whole = jax.grad(lambda p: (weight * _logp(p)).sum())(dense)
    assert jax.tree.structure(found) == jax.tree.structure(adapters)
    for run, modules in adapters["layers"].items():
        assert len(modules) == 7
        for module, factors in modules.items():
            G = np.asarray(whole["layers"][run][module]["kernel"], np.float64)
            turned = {name: np.asarray(x, np.float64).swapaxes(1, 2) for name, x in factors.items()}
            expected = {"lora_A": 2.0 * G @ turned["lora_B"], "lora_B": 2.0 * turned["lora_A"] @ G}
            for name, value in expected.items():
                size = np.abs(value).max()
                got = found["layers"][run][module][name]
                np.testing.assert_allclose(got, value, rtol=0, atol=TOLERANCE["logits"] * size, err_msg=module)


def test_the_gradient_is_the_slope_of_the_reference():
    """The same without any gradient of this package's: a difference of the NumPy decoder along one direction."""
    base = _base()
    adapters = _trained(base)
    rng = np.random.default_rng(3)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), adapters)

    def loss(step: float) -> float:
        dense = _dense(base, jax.tree.map(lambda x, d: np.asarray(x, np.float64) + step * d, adapters, direction), 2.0)
        logp_SV = reference.log_softmax(reference.logits(dense, TOKENS[0], POSITIONS[0], SEGMENTS[0], MODEL))
        return float(logp_SV[np.arange(8), TOKENS[0, 1:]].sum())

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    grads = jax.grad(lambda a: _logp(lora.policy(a, base, LORA))[0, 1:].sum())(adapters)
    along = sum(float((g * d).sum()) for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(along, slope, rtol=TOLERANCE["logits"])


def test_the_update_makes_nothing_of_a_matrix_size():
    """Neither A B nor a gradient of W: else LoRA would cost what training everything costs."""
    base = api.shapes(MODEL)
    adapters = jax.eval_shape(lambda b: lora.initial(b, LORA, 0), base)

    def products(jaxpr) -> set:
        found = set()
        for eqn in jaxpr.eqns:
            if eqn.primitive.name == "dot_general":
                found.add(eqn.outvars[0].aval.shape[-2:])
            for value in eqn.params.values():
                for one in value if isinstance(value, tuple | list) else (value,):
                    inner = getattr(one, "jaxpr", one)
                    found |= products(inner) if hasattr(inner, "eqns") else set()
        return found

    def gradient(a, b):
        return jax.grad(lambda a: _logp(lora.policy(a, b, LORA)).sum())(a)

    made = products(jax.make_jaxpr(gradient)(adapters, base).jaxpr)
    assert (20, 3) in made, "the products of the factors' gradients were not found"
    kernels = {shape[1:] for _, _, shape in lora.targets(base, LORA)}
    assert not made & (kernels | {(b, a) for a, b in kernels})
    dense = products(jax.make_jaxpr(jax.grad(lambda p: _logp(p).sum()))(base).jaxpr)
    assert dense & (kernels | {(b, a) for a, b in kernels}), "a gradient of W would not be seen either"


def test_merged_weights_are_what_decoding_and_the_export_read():
    base = _base()
    adapters = _trained(base)
    policy = lora.policy(adapters, base, LORA)
    dense = _dense(base, adapters, scale=2.0)
    layers = jax.jit(api.unstack, static_argnames="config")(policy, config=MODEL)["layers"]
    kernels = np.concatenate([dense["layers"][run]["down_proj"]["kernel"] for run in ("0", "1")])
    for y, layer in enumerate(layers):
        assert set(layer["down_proj"]) == {"kernel"}
        np.testing.assert_allclose(layer["down_proj"]["kernel"], kernels[y], rtol=TOLERANCE["sum"], atol=1e-6)
    whole = lora.whole(jax.tree.map(jnp.copy, policy))
    assert jax.tree.structure(whole) == jax.tree.structure(base)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=TOLERANCE["sum"], atol=1e-6), whole, dense)
    assert lora.whole(base) is base


def test_a_bfloat16_policy_has_float32_adapters():
    """AdamW's steps are smaller than bfloat16 can add to a number."""
    model = dataclasses.replace(MODEL, dtype="bfloat16", param_dtype="bfloat16")
    base = _base(model)
    adapters = _trained(base)
    assert {x.dtype for x in jax.tree.leaves(adapters)} == {jnp.dtype("float32")}
    policy = lora.policy(adapters, base, LORA)
    merged = jax.jit(adapted.merged)(adapted.joined(policy))
    assert {x.dtype for x in jax.tree.leaves(merged)} == {jnp.dtype("bfloat16")}
    expected = _logits(jax.tree.map(jnp.float32, _dense(base, adapters, 2.0)))
    assert np.abs(_logits(policy, model) - expected).max() < 4 * TOLERANCE["bfloat16"] * np.abs(expected).max()


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("q_proj",), {"q_proj"}),
        (("q_proj", "v_proj"), {"q_proj", "v_proj"}),
        (("mlp.*",), {"gate_proj", "up_proj", "down_proj"}),
        (("self_attn[.][qk]_proj", "down_proj"), {"q_proj", "k_proj", "down_proj"}),
        (("all-linear",), {f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}),
    ],
)
def test_targets_by_pattern(patterns, expected):
    found = lora.targets(api.shapes(MODEL), LoraConfig(r=2, target_modules=patterns))
    assert {module for _, module, _ in found} == expected
    assert len(found) == 2 * len(expected), "a run of layers was left out"
    count = sum(2 * layers * (rows + columns) for _, _, (layers, rows, columns) in found)
    assert footprint.num_trained(MODEL, LoraConfig(r=2, target_modules=patterns)) == count


SPARSE = dataclasses.replace(MODEL, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, dense_layers=(0,))


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (MODEL, {"r": 2, "target_modules": ("qproj",)}, "got 'qproj', which matches none"),
        (MODEL, {"r": 2, "target_modules": ("q_proj", "lm_head")}, "got 'lm_head', which matches none"),
        (
            MODEL,
            {"r": 2, "target_modules": ("q_pro",)},
            "lora.target_modules: expected each to match one of the layers'",
        ),
        (
            MODEL,
            {"r": 13, "target_modules": ("q_proj", "k_proj")},
            "lora.r: expected at most 12, the smaller side of k_proj",
        ),
        (SPARSE, {"r": 2}, "lora.target_modules: expected no experts and no router"),
        (SPARSE, {"r": 2, "target_modules": ("gate_proj",)}, "got 'gate_proj', which matches some"),
        (SPARSE, {"r": 2, "target_modules": ("mlp.gate",)}, "got 'mlp.gate', which matches some"),
    ],
)
def test_adapters_that_a_model_cannot_have(model, fields, message):
    with pytest.raises(ValueError) as refused:
        lora.refuse(model, LoraConfig(**fields))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_dense_layer_beside_experts_may_have_adapters():
    config = LoraConfig(r=2, target_modules=("mlp[.]gate_proj", "q_proj"))
    found = lora.targets(api.shapes(SPARSE), config)
    assert [(run, module) for run, module, _ in found if module == "gate_proj"] == [("0", "gate_proj")]
    adapters = jax.eval_shape(lambda: lora.initial(api.shapes(SPARSE), config, 0))
    described = lora_export.description(adapters, SPARSE, config, "", "")
    assert described["target_modules"] == ["mlp.gate_proj", "self_attn.q_proj"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"r": -1}, "lora.r: expected at least 1, or 0 for none, got -1"),
        ({"target_modules": ("q_proj",)}, "lora.r: expected at least 1 beside lora.target_modules, got 0"),
        ({"lora_alpha": 16.0}, "lora.r: expected at least 1 beside lora.lora_alpha, got 0"),
        ({"r": 2, "lora_alpha": 0.0}, "lora.lora_alpha: expected above 0, got 0.0"),
        ({"r": 2, "target_modules": ()}, "lora.target_modules: expected at least one name"),
        ({"r": 2, "target_modules": ("*_proj",)}, "expected names or regular expressions, got '*_proj'"),
    ],
)
def test_settings_that_make_no_sense(fields, message):
    with pytest.raises(ValueError) as refused:
        LoraConfig(**fields)
    assert message in str(refused.value)


def test_without_adapters_everything_is_as_it_was():
    assert not Config().lora.wanted
    base = _base()
    assert lora.initial(base, LoraConfig(), 0) is base
    assert lora.policy(base, None, LoraConfig()) is base
    assert adapted.joined(base) is base


def test_the_folder_that_peft_reads(tmp_path):
    """Names and shapes as PEFT's documentation gives them, numbers as the adapters hold them."""
    base = _base()
    adapters = _trained(base, config := LoraConfig(r=3, lora_alpha=5.0, target_modules=("q_proj", "down_proj")))
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "tokenizer.json").write_text("{}")
    to = lora_export.export(
        adapters, MODEL, config, tmp_path / "to", tokenizer=tmp_path / "tok", base="Qwen/Qwen3-0.6B", revision="main"
    )
    assert {file.name for file in to.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
    }
    said = json.loads((to / "adapter_config.json").read_text())
    assert (said["peft_type"], said["r"], said["lora_alpha"], said["bias"]) == ("LORA", 3, 5, "none")
    assert said["target_modules"] == ["down_proj", "q_proj"]
    assert (said["base_model_name_or_path"], said["revision"]) == ("Qwen/Qwen3-0.6B", "main")
    held = load_file(to / "adapter_model.safetensors")
    expected = {}
    for layer, (run, at) in enumerate([("0", 0), ("0", 1), ("1", 0)]):
        for module, where in (("q_proj", "self_attn"), ("down_proj", "mlp")):
            for factor in ("lora_A", "lora_B"):
                name = f"base_model.model.model.layers.{layer}.{where}.{module}.{factor}.weight"
                expected[name] = np.asarray(adapters["layers"][run][module][factor][at]).T
    assert held["base_model.model.model.layers.2.mlp.down_proj.lora_A.weight"].shape == (3, 36)
    assert held.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(held[name], value)
    with pytest.raises(ValueError, match="is there already"):
        lora_export.export(adapters, MODEL, config, to, tokenizer=tmp_path / "tok")
