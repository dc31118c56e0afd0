"""The model card: the run's own figures, and nothing that the run does not know."""

import json

import pytest
import yaml
from huggingface_hub import ModelCard

from jaxreason.config import Config, to_dict
from jaxreason.report.card import write_card

TABLE = {
    "problems": 200,
    "samples": 4,
    "accuracy": 0.5,
    "accuracy_low": 0.43,
    "accuracy_high": 0.57,
    "mean_tokens": 300.0,
    "greedy": {"accuracy": 0.52, "accuracy_low": 0.45, "accuracy_high": 0.59, "mean_tokens": 280.0},
}


@pytest.fixture
def run(tmp_path):
    """A finished run of 40 steps from a released checkpoint, and the folder of an exported policy."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = to_dict(Config())
    config["model"]["path"] = "org/base-0.5b"
    config["data"] |= {"train": "/data/mine.jsonl", "test": "/data/held.jsonl"}
    config["agents"]["prompts"] = "chat"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "env.json").write_text(
        json.dumps({"versions": {"jaxreason": "9.9", "jax": "1.2"}, "git": {"sha": "a" * 40}})
    )
    after = TABLE | {"accuracy": 0.55, "mean_tokens": 150.0}
    (folder / "results.json").write_text(json.dumps({"base": TABLE, "trained": after, "steps": 40}))
    (tmp_path / "to").mkdir()
    return folder


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    return folder


def test_before_and_after_method_and_licence(run, base, tmp_path):
    card = ModelCard.load(write_card(run, tmp_path / "to", 40, base))
    assert card.data.base_model == "org/base-0.5b"
    assert card.data.license == "apache-2.0"
    text = card.text
    assert "| sampled | 50.0 % (43.0 to 57.0) | 55.0 % (43.0 to 57.0) | 300 | 150 | -50 % |" in text
    assert "| greedy | 52.0 % (45.0 to 59.0) |" in text
    assert "200 problems of `held.jsonl`, 4 answers each at temperature 1.0" in text
    assert "| method | `guarded`: " in text
    assert "jaxreason 9.9, jax 1.2, commit aaaaaaaaaaaa" in text
    assert "A derivative of org/base-0.5b, under its licence (apache-2.0)" in text
    assert "apply_chat_template" in text


def test_what_is_not_known_is_said_to_be_unknown(run, tmp_path):
    """A step without an evaluation has no figures, least of all another step's; a base without a card no licence."""
    card = ModelCard.load(write_card(run, tmp_path / "to", 20))
    assert "Not known: the run holds no evaluation of the policy after step 20." in card.text
    assert "50.0 %" not in card.text
    assert card.data.license is None
    assert "which its folder does not name" in card.text


def test_a_policy_that_began_from_nothing(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["path"] = ""
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    card = ModelCard.load(write_card(run, tmp_path / "to", 40))
    assert card.data.base_model is None
    assert "A policy that began from nothing, trained for 40 steps" in card.text
