"""`jaxreason export`: a run's policy in a folder that opens as a Hugging Face checkpoint."""

import json

import jax
import numpy as np
import pytest

from jaxreason.data import tokenizer
from jaxreason.evaluation import stored
from jaxreason.policy import huggingface
from jaxreason.run import setup
from tests import runs


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


def test_a_run_comes_back_as_it_was(warm, tmp_path, capsys):
    """Trained from nothing, so config.json, generation_config.json and the tokenizer are the run's own."""
    to = tmp_path / "to"
    assert runs.main(["export", str(warm), "--to", str(to)]) == 0
    said = capsys.readouterr().out
    assert f"the policy after step 0, with its tokenizer, written to {to}" in said
    assert "export 13/13" in said
    assert "before any training" in (to / "README.md").read_text()
    config = stored.load_config(warm)
    tok = tokenizer.load(warm / "tokenizer")
    config = setup.with_vocabulary(config, tok)
    params, _ = stored.load_policy(warm, config)
    model = huggingface.model_config(to, config.model)
    assert model.max_position_embeddings == config.data.max_prompt_length + config.sampling.max_completion_length
    jax.tree.map(np.testing.assert_array_equal, huggingface.load(to, model), params)
    for name in ("tokenizer.model", "tokenizer_config.json"):
        assert (to / name).read_bytes() == (warm / "tokenizer" / name).read_bytes()
    assert tokenizer.load(to).eos_ids == tok.eos_ids
    assert (to / "model.safetensors").stat().st_mode & 0o777 == (to / "config.json").stat().st_mode & 0o777

    capsys.readouterr()
    before = {file: file.read_bytes() for file in to.iterdir()}
    assert runs.main(["export", str(warm), "--to", str(to)]) == 2
    assert f"error: {to}: is there already; move it away" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in to.iterdir()} == before

    assert runs.main(["export", str(warm), "--to", str(tmp_path / "half"), "--dtype", "bfloat16"]) == 0
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_what_cannot_be_exported(warm, tmp_path, capsys):
    """One line, and nothing left behind."""
    for arguments, message in (
        ([str(tmp_path), "--to", str(tmp_path / "to")], "expected the folder of a run, with a config.yaml"),
        ([str(warm), "--to", str(tmp_path / "to"), "--step", "7"], "expected a checkpoint, found none"),
        ([str(warm), "--to", str(tmp_path / "to"), "--dtype", "float16"], "invalid choice: 'float16'"),
        ([str(warm)], "the following arguments are required: --to"),
    ):
        assert runs.main(["export", *arguments]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
