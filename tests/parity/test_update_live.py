"""A checkpoint that an update has changed, seen from PyTorch: transformers computes from the export what we do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import Config, GRPOConfig, MeshConfig, ModelConfig, OptimizerConfig
from jaxreason.grpo import batch
from jaxreason.grpo.optimizer import make_optimizer
from jaxreason.grpo.update import make_update
from jaxreason.parallel.mesh import on_mesh
from jaxreason.parallel.rules import place, shardings
from jaxreason.policy import api, huggingface
from jaxreason.types import TrainState
from tests.helpers import TOLERANCE
from tests.policy import checkpoints

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]

MESHES = [MeshConfig(fsdp=1), MeshConfig(fsdp=2, tensor=2)]


def _sequences(vocab_size: int) -> list[batch.PackItem]:
    rng = np.random.default_rng(0)
    return [
        batch.PackItem(
            prompt=rng.integers(0, vocab_size, size=3),
            completion=rng.integers(0, vocab_size, size=9),
            old_logp=np.full(9, -4.0, np.float32),
            weight=np.full(9, 1 / 72, np.float32),
            advantage=np.full(9, rng.normal(), np.float32),
            role=0,
        )
        for _ in range(8)
    ]


@pytest.mark.parametrize("kind", sorted(checkpoints.CONFIGS))
@pytest.mark.parametrize("mesh", MESHES, ids=["one device", "2x2"])
def test_what_was_trained_is_what_transformers_runs(tmp_path, kind, mesh):
    """An export that takes the loaded tensors for the trained ones, or a device's part for the whole."""
    torch = pytest.importorskip("torch")
    import transformers

    raw = checkpoints.CONFIGS[kind]
    source = checkpoints.write(tmp_path / "source", raw, checkpoints.random(raw, "float32"))
    config = huggingface.model_config(source, ModelConfig())
    whole = Config(model=config, mesh=mesh, data=dataclasses.replace(Config().data, prompts_per_step=8))
    packed = batch.pack(_sequences(raw["vocab_size"]), batch.Shape(2, 4, 24))
    with on_mesh(whole):
        before = huggingface.load(source, config, shardings(api.shapes(config)))
        optimizer, _ = make_optimizer(OptimizerConfig(learning_rate=0.01, warmup_steps=0), 1)
        state = TrainState(step=jnp.int32(0), params=before, opt_state=optimizer.init(before))
        update = make_update(api.logp_fn(config), optimizer, GRPOConfig())
        state, metrics = update(jax.tree.map(jnp.copy, state), place(packed))
        assert metrics["skipped"][0] == 0
        huggingface.export(state.params, config, tmp_path / "to", tokenizer=source, source=source, dtype="float32")
        tokens_BS = np.random.default_rng(1).integers(0, raw["vocab_size"], (2, 24))
        positions_BS = jnp.broadcast_to(jnp.arange(24), (2, 24))
        asked = (jnp.asarray(tokens_BS), positions_BS, jnp.ones((2, 24), jnp.int32))
        ours = np.asarray(api.logits(state.params, *asked, config=config))
        untrained = np.asarray(api.logits(before, *asked, config=config))
    assert np.abs(ours - untrained).max() > 100 * TOLERANCE["logits"]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "to", dtype=torch.float32).eval()
    with torch.no_grad():
        found = theirs(torch.tensor(tokens_BS)).logits.numpy()
    np.testing.assert_allclose(found, ours, rtol=TOLERANCE["logits"], atol=TOLERANCE["logits"])
