"""The trainer's signal under chunk credit: the length term moves to the chunks, and nothing is made or lost."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.config import GRPOConfig, RewardConfig
from jaxreason.grpo.signal import signal
from jaxreason.rewards.importance import initial_ratio
from jaxreason.rewards.methods import METHODS
from jaxreason.rewards.outcome import Outcome
from jaxreason.types import Chunks, Scores
from tests.helpers import TOLERANCE

T = 8
# One problem, two right answers. y has 6 tokens in chunks of 2, then the box and the end. Row 0 wastes its second.
CHUNK_ID = [[[0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 1, 1, 2, 2, 3, 3]]]
SCORES = [[[5, 1, 5], [5, 5, 5]]]


def outcome() -> Outcome:
    flat = jnp.ones((1, 2), bool)
    return Outcome(
        correct=flat,
        gradable=flat,
        length_y=jnp.full((1, 2), 6, jnp.int32),
        length={role: jnp.full((1, 2), T, jnp.int32) for role in ("reason", "segment", "score")},
        finished=dict.fromkeys(("reason", "segment", "score"), flat),
        chunks=Chunks(
            chunk_id=jnp.array(CHUNK_ID, jnp.int32),
            length=jnp.full((1, 2, 3), 2, jnp.int32),
            characters=jnp.full((1, 2, 3), 4, jnp.int32),
            mask=jnp.ones((1, 2, 3), bool),
            valid=flat,
        ),
        scores=Scores(value=jnp.array(SCORES, jnp.int32), valid=flat),
        frozen_value=jnp.array(SCORES, jnp.float32),
        widths=tuple((role, T) for role in ("reason", "segment", "score")),
    )


def advantages(credit: str, seen: Outcome | None = None, **reward) -> np.ndarray:
    _, found, _ = signal(
        seen or outcome(),
        jnp.float32(0.4),
        initial_ratio(),
        jax.random.key(0),
        reward=RewardConfig(preset="guarded", **reward),
        grpo=GRPOConfig(credit=credit, scale_rewards="none"),
        method=METHODS["guarded"],
        max_length=T,
    )
    return np.asarray(found.token["reason"])[0]


def test_by_hand():
    """Catches a length term on the wrong chunk: row 0 pays 0.4 * 2/8 = 0.1 for its second chunk, row 1 nothing, so the
    second chunks get -/+ 0.05 and every other token of these equally right answers nothing."""
    expected = np.array([[0, 0, -0.05, -0.05, 0, 0, 0, 0], [0, 0, 0.05, 0.05, 0, 0, 0, 0]])
    np.testing.assert_allclose(advantages("chunk"), expected, atol=TOLERANCE["elementwise"])


def test_sequence_credit_punishes_the_whole_chain():
    """Catches the two settings being one: the paper's advantage is the same on every token."""
    expected = np.broadcast_to(np.array([[-0.05], [0.05]]), (2, T))
    np.testing.assert_allclose(advantages("sequence"), expected, atol=TOLERANCE["elementwise"])


@pytest.mark.parametrize("row", [0, 1])
def test_a_row_without_scores_falls_back_to_the_sequence(row):
    """Catches a chunk's credit being read from a split that nobody could score."""
    seen = outcome()
    valid = seen.scores.valid.at[0, row].set(False)
    value = jnp.where(valid[..., None], seen.scores.value, 0)
    found = advantages("chunk", dataclasses.replace(seen, scores=Scores(value=value, valid=valid)))
    assert len(set(found[row].tolist())) == 1


def one_wrong(row: int) -> Outcome:
    seen = outcome()
    return dataclasses.replace(seen, correct=seen.correct.at[0, row].set(False))


@pytest.mark.parametrize("credit", ["chunk", "sequence"])
def test_lengths_are_compared_among_right_answers(credit):
    """Catches a wrong answer that gains by costing nothing: the only right one has nothing to be compared with, so each
    has its outcome's advantage and no more, where `correct` gives the wrong one 0.05 and takes them from the right."""
    found = advantages(credit, one_wrong(1), gate="among_correct")
    np.testing.assert_allclose(found, np.broadcast_to([[0.5], [-0.5]], (2, T)), atol=TOLERANCE["elementwise"])
    plain = advantages("sequence", one_wrong(1), gate="correct")
    np.testing.assert_allclose(plain, np.broadcast_to([[0.45], [-0.45]], (2, T)), atol=TOLERANCE["elementwise"])


@pytest.mark.parametrize("credit", ["chunk", "sequence"])
def test_all_right_is_the_same_under_every_gate(credit):
    """Catches a gate that changes groups without a wrong answer."""
    found = [advantages(credit, gate=gate) for gate in ("none", "correct", "among_correct")]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=TOLERANCE["elementwise"])
