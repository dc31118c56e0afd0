"""What helpers earn for their own answers."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.rewards import format as form
from tests.helpers import TOLERANCE
from tests.reference import rewards as reference
from tests.rewards.cases import random_case


def test_own_format_by_hand():
    """Catches a role blamed for an answer it was never asked for."""
    valid, exists = jnp.array([[True, False, False]]), jnp.array([[True, True, False]])
    assert form.own_format(valid, exists, penalty=2.0).tolist() == [[0.0, -2.0, 0.0]]


def test_agreement_by_hand():
    """Catches an unweighted mean: (3 * 4 + 1 * 0) / 4 tokens / 4."""
    got = form.agreement(
        jnp.array([[[5, 2, 0]]]), jnp.array([[[1.0, 2.0, 0.0]]]), jnp.array([[[3, 1, 0]]]), jnp.array([[True]])
    )
    assert got.tolist() == [[-0.75]]


@given(seed=st.integers(0, 2**31))
def test_agreement_against_loops(seed):
    """Catches missing chunks counted as gaps, 0/0 in rows without a score, and values outside [-1, 0]."""
    case = random_case(seed)
    got = form.agreement(
        jnp.asarray(case["scores"]),
        jnp.asarray(case["frozen"]),
        jnp.asarray(case["chunk_length"]),
        jnp.asarray(case["score_valid"]),
    )
    expected = reference.agreement(case["scores"], case["frozen"], case["chunk_length"], case["score_valid"])
    np.testing.assert_allclose(got, expected, atol=TOLERANCE["sum"])
    assert float(got.min()) >= -1.0
    assert float(got.max()) <= 0.0


def test_breaking_the_format_is_never_better_than_disagreeing():
    """Catches an escape: an invalid answer has agreement 0, so its format term must make up for it."""
    worst = form.agreement(
        jnp.array([[[5]]]), jnp.array([[[1.0]]]), jnp.array([[[7]]]), jnp.array([[True]])
    ) + form.own_format(jnp.array([[True]]), jnp.array([[True]]), penalty=1.0)
    broken = form.own_format(jnp.array([[False]]), jnp.array([[True]]), penalty=1.0)
    assert float(worst[0, 0]) >= float(broken[0, 0])
