"""The policy against what transformers said in torch of the same checkpoints (tests/parity/make_goldens.py wrote it).

tests/parity/test_live.py asks transformers itself about all of it.
"""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import TOLERANCE
from tests.parity import cases, ours

GOLDENS = Path(__file__).parent / "goldens"
DECODED = (
    "llama_llama3",
    "smollm3_sliding",
    "qwen2_untied_mha",
    "qwen3_mqa",
    "qwen3_yarn_factor",
    "qwen2_sliding",
    "moe_dense_first_sliding",
)
"""Cases whose greedy continuation is compared here: one program more each."""


@functools.cache
def _loaded(name):
    with tempfile.TemporaryDirectory() as folder:
        return ours.load(cases.write(name, Path(folder)))


@pytest.mark.parametrize("name", cases.CASES)
def test_logits_and_log_probabilities(name):
    """Catches any term of the architecture that is missing, misplaced or read from config.json wrongly."""
    stored = np.load(GOLDENS / f"{name}.npz")
    logits, logp = ours.scored(*_loaded(name), cases.prompts(name))
    got = np.concatenate([x[:: cases.EVERY] for x in logits])
    np.testing.assert_allclose(got, stored["logits"], atol=TOLERANCE["logits"], rtol=0)
    np.testing.assert_allclose(np.concatenate(logp), stored["logp"], atol=TOLERANCE["logits"], rtol=0)


@pytest.mark.parametrize("name", DECODED)
def test_greedy_continuation(name):
    """Catches a cache that differs from the full pass: positions after left padding, windows over the prompt's end."""
    stored = np.load(GOLDENS / f"{name}.npz")
    np.testing.assert_array_equal(ours.greedy(*_loaded(name), cases.prompts(name)), stored["greedy"])


def test_every_stored_file_is_a_case():
    """Catches stored values that nothing reads, and a case that was never stored."""
    assert {file.stem for file in GOLDENS.iterdir()} == set(cases.CASES)
