"""Layers of several kinds in a ModelConfig, and what it refuses."""

import pytest

from jaxreason.config import ModelConfig
from jaxreason.config.model import LayerRun


def test_runs_of_one_kind_are_as_long_as_they_can_be():
    """Catches runs that merge over a window's border or split where only the number changes."""
    config = ModelConfig(
        num_hidden_layers=6,
        sliding_window=4,
        sliding_layers=(4, 5),
        num_experts=8,
        dense_layers=(0, 5),
    )
    assert config.layer_runs == (
        LayerRun(0, 1, False, 0),
        LayerRun(1, 3, True, 0),
        LayerRun(4, 1, True, 4),
        LayerRun(5, 1, False, 4),
    )
    assert ModelConfig(num_hidden_layers=9).layer_runs == (LayerRun(0, 9, False, 0),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rope_factor": 0.5}, "model.rope_factor: expected at least 1"),
        ({"rope_type": "yarn", "rope_factor": 4.0}, "model.rope_original_max_position_embeddings"),
        ({"rope_type": "yarn", "max_position_embeddings": 64, "rope_beta_fast": 1.0}, "model.rope_beta_fast"),
        ({"sliding_layers": (1,)}, "model.sliding_window: expected at least 1"),
        ({"sliding_window": 4, "sliding_layers": (4,)}, "model.sliding_layers: expected each layer once, from 0 to 3"),
        ({"num_experts": 4, "num_experts_per_tok": 5}, "model.num_experts_per_tok: expected from 1 to"),
        ({"num_experts": 8, "dense_layers": (1, 1)}, "model.dense_layers: expected each layer once"),
        ({"dense_layers": (0,)}, "model.dense_layers: expected empty"),
    ],
)
def test_what_cannot_be_a_model_is_refused_by_name(fields, message):
    """Catches a setting that would be ignored, or fail with a shape in the depths."""
    with pytest.raises(ValueError, match=message):
        ModelConfig(**fields)
