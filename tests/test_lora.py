"""`jaxreason train --lora.r`: a run of adapters, from its start to what is exported."""

import json

import chex
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxreason.config import load
from jaxreason.evaluation import stored
from jaxreason.policy import api
from jaxreason.policy.adapted import Adapted
from jaxreason.run import state as run_state
from tests import runs
from tests.helpers import TOLERANCE

LORA = ("--lora.r=4", "--optimizer.learning_rate=1e-2")
"""Enough that four steps move the policy well beyond rounding."""


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


@pytest.fixture(scope="module")
def trained(warm, tmp_path_factory):
    """Four steps, a checkpoint after the second and the fourth."""

    def make(folder):
        assert runs.train(runs.begin(warm, folder), *LORA) == 0

    return runs.shared(tmp_path_factory, "lora", make)


def _policy(folder, step=None):
    config = stored.load_config(folder)
    config = stored.setup.with_vocabulary(config, stored.tokenizer.load(folder / "tokenizer"))
    return stored.load_policy(folder, config, step)[0]


def test_the_first_step_is_that_of_a_run_without_adapters(warm, trained, tmp_path):
    """Rollouts, rewards and the loss of step 1 are the base's, to the bit: adapters begin as nothing."""
    folder = runs.begin(warm, tmp_path / "whole")
    assert runs.train(folder, "--run.max_steps=1") == 0
    (first,), (adapted, *_) = runs.rows(folder), runs.rows(trained)
    other = {"grad_norm", "learning_rate"}
    assert {k: v for k, v in adapted.items() if k not in other} == {k: v for k, v in first.items() if k not in other}
    assert 0 < adapted["grad_norm"] != first["grad_norm"]


def test_what_a_run_goes_back_to_is_how_it_began():
    """New adapters by their seed alone; the policy that they belong to is not made a second time."""
    config = load(runs.TINY, ["--lora.r=4", "--model.vocab_size=64", "--run.seed=3"])
    start = api.init(jax.random.key(0), config.model)
    again = run_state.untrained(lambda: 1 / 0, config)
    chex.assert_trees_all_equal(again, run_state.new_state(start, config).train.params)
    assert run_state.untrained(lambda: start, load(runs.TINY)) is start


@pytest.mark.slow
def test_two_launches_are_one_run(warm, trained, tmp_path):
    """Metrics of every step and the adapters, bit for bit, though no checkpoint holds the start."""
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, *LORA, "--run.max_steps=2") == 0
    assert runs.train(folder, *LORA, "--resume") == 0
    assert runs.rows(folder) == runs.rows(trained)
    assert runs.results(folder) == runs.results(trained)
    one, other = _policy(folder), _policy(trained)
    assert isinstance(one, Adapted)
    chex.assert_trees_all_equal(jax.device_get(one), jax.device_get(other))


def test_a_checkpoint_holds_adapters_and_says_what_they_belong_to(trained):
    from orbax.checkpoint import v1 as ocp

    with ocp.training.Checkpointer(trained / "checkpoints") as opened:
        record = opened.metadata(4).custom_metadata
    params = {name for name in record["arrays"] if name.startswith("train/params")}
    assert params
    assert all(name.rsplit("/", 1)[-1] in ("lora_A", "lora_B") for name in params)
    assert not any(name.endswith("kernel") for name in record["arrays"]), "the optimiser holds more than the adapters'"
    assert record["meta"]["base"] == "this run's start"


def test_a_run_of_adapters_is_not_continued_without_them(trained, capsys):
    """Nor the other way round, nor with another rank."""
    before = {file: file.read_bytes() for file in trained.rglob("*") if file.is_file()}
    for settings in ((), ("--lora.r=8",), ("--lora.r=4", "--lora.target_modules=q_proj")):
        assert runs.train(trained, "--optimizer.learning_rate=1e-2", *settings, "--resume") == 2
        said = capsys.readouterr().err
        assert "holds a run with another configuration: lora." in said
        assert said.count("\n") == 1
    assert {file: file.read_bytes() for file in trained.rglob("*") if file.is_file()} == before


def test_what_a_model_cannot_have_is_refused_in_a_line(warm, tmp_path, capsys):
    for name, settings, message in (
        ("none", ["--lora.r=4", "--lora.target_modules=w_q"], "got 'w_q', which matches none"),
        ("large", ["--lora.r=64"], "lora.r: expected at most 16, the smaller side of k_proj [32 16], got 64"),
        ("zero", ["--lora.r=0", "--lora.target_modules=q_proj"], "lora.r: expected at least 1 beside"),
    ):
        assert runs.train(runs.begin(warm, tmp_path / name), *settings) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


def test_export_merged_and_as_adapters(warm, trained, tmp_path, capsys):
    """The merged checkpoint is the start's and the adapters' sum, by the files alone."""
    folders = {name: tmp_path / name for name in ("adapter", "merged", "start")}
    assert runs.main(["export", str(trained), "--to", str(folders["adapter"]), "--adapter"]) == 0
    assert "the adapters after step 4, with the tokenizer, written to" in capsys.readouterr().out
    assert runs.main(["export", str(trained), "--to", str(folders["merged"])]) == 0
    assert runs.main(["export", str(trained), "--to", str(folders["start"]), "--step", "0"]) == 0
    merged, start = (load_file(folders[name] / "model.safetensors") for name in ("merged", "start"))
    adapter = load_file(folders["adapter"] / "adapter_model.safetensors")
    scale = 32 / 4
    for name, tensor in merged.items():
        expected = start[name].astype(np.float64)
        factors = [
            adapter.get(f"base_model.model.{name.removesuffix('weight')}{f}.weight") for f in ("lora_A", "lora_B")
        ]
        if "_proj" in name:
            a, b = (x.astype(np.float64) for x in factors)
            expected = expected + scale * b @ a
            assert np.abs(tensor - start[name]).max() > 100 * TOLERANCE["sum"], name
        np.testing.assert_allclose(tensor, expected, rtol=TOLERANCE["sum"], atol=TOLERANCE["elementwise"], err_msg=name)
    card = (folders["adapter"] / "README.md").read_text()
    assert "library_name: peft" in card
    assert "adapters (LoRA) of rank 4, alpha 32.0" in card
    assert "PeftModel.from_pretrained" in card
    assert json.loads((folders["adapter"] / "adapter_config.json").read_text())["base_model_name_or_path"] is None

    for run, more, message in (
        (warm, [], "--adapter: expected a run with lora.r above 0"),
        (trained, ["--step", "0"], "--adapter: expected a step after the start"),
    ):
        to = tmp_path / "refused"
        assert runs.main(["export", str(run), "--to", str(to), "--adapter", *more]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
        assert not to.exists()


@pytest.mark.slow
def test_a_run_of_adapters_is_evaluated_and_asked(trained, capsys):
    """From its folder, and the best one; catches a policy that is read without its adapters or without their base."""
    assert runs.main(["evaluate", str(trained), "--limit", "4", "--output", str(trained / "again.json")]) == 0
    assert runs.main(["evaluate", str(trained), "--limit", "4", "--step", "best"]) == 0
    assert runs.main(["generate", str(trained), "1;+1;", "--temperature", "0"]) == 0
    (trained / "again.json").unlink()
