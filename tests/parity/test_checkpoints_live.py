"""Checkpoints that transformers itself saves and loads, in PyTorch: the same logits on either side of either way."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.policy import api, huggingface
from tests.helpers import TOLERANCE
from tests.policy import checkpoints

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
CASES = [(kind, {}) for kind in checkpoints.CONFIGS] + [("qwen2", {"rope_scaling": YARN})]


@pytest.mark.parametrize(("kind", "change"), CASES)
def test_transformers_saves_we_load_and_back(tmp_path, kind, change):
    """A key read otherwise, a name that 5.x saves otherwise than the hub, an export with a tensor it doesn't know."""
    torch = pytest.importorskip("torch")
    import transformers

    raw = checkpoints.CONFIGS[kind] | change
    theirs = getattr(transformers, raw["architectures"][0])(transformers.AutoConfig.for_model(**raw)).eval()
    torch.manual_seed(0)
    for parameter in theirs.parameters():
        parameter.data.normal_(float(parameter.ndim == 1), 0.2)
    theirs.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer.json").write_text("{}")
    tokens_BS = np.random.default_rng(0).integers(0, raw["vocab_size"], (2, 24))
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens_BS)).logits.numpy()

    config = huggingface.model_config(tmp_path / "theirs")
    params = huggingface.load(tmp_path / "theirs", config)
    positions_BS = jnp.broadcast_to(jnp.arange(24), (2, 24))
    segments_BS = jnp.ones((2, 24), jnp.int32)
    found = api.logits(params, jnp.asarray(tokens_BS), positions_BS, segments_BS, config=config)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE["logits"], atol=TOLERANCE["logits"])

    to, source = tmp_path / "to", tmp_path / "theirs"
    huggingface.export(params, config, to, tokenizer=source, source=source, dtype="float32")
    back, info = transformers.AutoModelForCausalLM.from_pretrained(to, output_loading_info=True, dtype=torch.float32)
    assert not any(info.values()), info
    with torch.no_grad():
        again = back.eval()(torch.tensor(tokens_BS)).logits.numpy()
    np.testing.assert_array_equal(again, expected)


def test_transformers_stops_at_an_end_token_that_only_training_knew(tmp_path):
    """With the source's generation_config.json alone it would write all twelve tokens."""
    torch = pytest.importorskip("torch")
    import transformers

    raw = checkpoints.CONFIGS["qwen3"]
    source = checkpoints.write(tmp_path / "source", raw, checkpoints.random(raw, "float32"))
    config = huggingface.model_config(source)
    params = huggingface.load(source, config)
    prompt_S = torch.tensor([[7, 8, 9, 10]])

    def written(name: str, special: dict) -> list[int]:
        to = tmp_path / name
        huggingface.export(params, config, to, tokenizer=source, source=source, dtype="float32", special=special)
        model = transformers.AutoModelForCausalLM.from_pretrained(to, dtype=torch.float32).eval()
        return model.generate(prompt_S, do_sample=False, max_new_tokens=12)[0, 4:].tolist()

    free = written("free", {"pad_token_id": 0})
    assert len(free) == 12, "none of these twelve is an end token of the source"
    end = free[5]
    assert written("to", {"eos_token_id": [end], "pad_token_id": 0}) == free[: free.index(end) + 1]
