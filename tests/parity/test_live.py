"""The policy against transformers in torch, live: `make test-parity`, or pytest -m torch where torch is installed."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import TOLERANCE
from tests.parity import cases, oracle, ours

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]


@functools.cache
def _expected(name):
    with tempfile.TemporaryDirectory() as folder:
        return oracle.expected(name, cases.write(name, Path(folder)))


@pytest.fixture(params=cases.CASES)
def case(request, tmp_path):
    """(name, params, config), of a folder that transformers wrote: its config.json and its names of tensors."""
    name = request.param
    written = cases.write(name, tmp_path / "released")
    oracle.model(written).save_pretrained(tmp_path / "saved")
    return name, *ours.load(tmp_path / "saved")


def test_logits_and_log_probabilities(case):
    """Catches any term of the architecture that is missing, misplaced or read from config.json wrongly."""
    name, params, config = case
    want = _expected(name)
    logits, logp = ours.scored(params, config, cases.prompts(name))
    for got, expected in zip(logits + logp, want.logits + want.logp, strict=True):
        np.testing.assert_allclose(got, expected, atol=TOLERANCE["logits"], rtol=0)


def test_greedy_continuation(case):
    """Catches a cache that differs from the full pass: positions after left padding, windows over the prompt's end."""
    name, params, config = case
    np.testing.assert_array_equal(ours.greedy(params, config, cases.prompts(name)), _expected(name).greedy)


def test_bfloat16_is_no_worse_than_transformers(case, tmp_path, record_testsuite_property):
    """Catches a part that should be float32 (norm, rotation, softmax, router) done in bfloat16.

    By the median and by the mean. Both go to the test report.
    """
    name, params, config = case
    theirs = oracle.bfloat16_error(name, tmp_path / "saved")
    error = ours.bfloat16_error(params, config, name)
    for who, (median, mean) in (("ours", error), ("transformers", theirs)):
        record_testsuite_property(f"bfloat16_error/{name}/{who}", f"median {median:.5f}, mean {mean:.5f}")
    assert error[0] <= theirs[0]
    assert error[1] <= theirs[1]
