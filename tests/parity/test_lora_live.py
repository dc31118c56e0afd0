"""Adapters that an update trained, exported, opened by peft on transformers' model: the same logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import GRPOConfig, LoraConfig, ModelConfig, OptimizerConfig
from jaxreason.grpo import batch
from jaxreason.grpo.optimizer import make_optimizer
from jaxreason.grpo.update import make_update
from jaxreason.policy import api, huggingface, lora, lora_export
from jaxreason.types import TrainState
from tests.helpers import TOLERANCE
from tests.parity.test_update_live import _sequences
from tests.policy import checkpoints

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "smollm3"])
@pytest.mark.parametrize("patterns", [("all-linear",), ("q_proj", "mlp[.]down_proj")], ids=["all", "two"])
def test_peft_computes_what_was_trained(tmp_path, kind, patterns):
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    import transformers

    raw = checkpoints.CONFIGS[kind]
    source = checkpoints.write(tmp_path / "source", raw, checkpoints.random(raw, "float32"))
    config = huggingface.model_config(source, ModelConfig())
    adapters = LoraConfig(r=4, lora_alpha=6.0, target_modules=patterns)
    base = huggingface.load(source, config)
    optimizer, _ = make_optimizer(OptimizerConfig(learning_rate=0.05, warmup_steps=0), 3)
    trained = lora.initial(base, adapters, 0)
    state = TrainState(step=jnp.int32(0), params=trained, opt_state=optimizer.init(trained))
    update = make_update(api.logp_fn(config), optimizer, GRPOConfig(), policy=lambda a, b: lora.policy(a, b, adapters))
    packed = batch.pack(_sequences(raw["vocab_size"]), batch.Shape(2, 4, 24))
    for _ in range(3):  # the first one moves B only
        state, metrics = update(state, packed, base)
        assert metrics["skipped"][0] == 0
    to = lora_export.export(state.params, config, adapters, tmp_path / "to", tokenizer=source, base=str(source))

    tokens_BS = np.random.default_rng(1).integers(0, raw["vocab_size"], (2, 24))
    positions_BS = jnp.broadcast_to(jnp.arange(24), (2, 24))
    asked = (jnp.asarray(tokens_BS), positions_BS, jnp.ones((2, 24), jnp.int32))
    ours = np.asarray(api.logits(lora.policy(state.params, base, adapters), *asked, config=config))
    assert np.abs(ours - np.asarray(api.logits(base, *asked, config=config))).max() > 100 * TOLERANCE["logits"]

    theirs = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(theirs, to).eval()
    names = {name.replace(".default", "") for name, _ in theirs.named_parameters() if "lora_" in name}
    assert len(names) == len(jax.tree.leaves(trained)) * config.num_hidden_layers / len(config.layer_runs)
    with torch.no_grad():
        found = theirs(torch.tensor(tokens_BS)).logits.numpy()
        merged = theirs.merge_and_unload()(torch.tensor(tokens_BS)).logits.numpy()
    np.testing.assert_allclose(found, ours, rtol=TOLERANCE["logits"], atol=TOLERANCE["logits"])
    np.testing.assert_allclose(merged, ours, rtol=TOLERANCE["logits"], atol=TOLERANCE["logits"])
