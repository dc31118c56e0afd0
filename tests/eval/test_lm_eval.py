"""The functions that lm-eval is given."""

import importlib.util
import time
from pathlib import Path

import pytest

from jaxreason.grading.pool import Pool


@pytest.fixture
def grade(monkeypatch):
    spec = importlib.util.spec_from_file_location("grade", Path(__file__).parents[2] / "eval" / "lm_eval" / "grade.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with Pool(num_workers=1, timeout_s=1.0) as pool:
        monkeypatch.setattr(module, "POOL", pool)
        yield module


def test_a_bomb_in_an_answer_is_wrong_and_ends(grade):
    """It was graded in lm-eval's own process without a limit, where it still ran after twenty seconds."""
    start = time.monotonic()
    texts = ["so \\boxed{0.5}", "\\boxed{7^{7^{7^{7}}}}", "\\boxed{3}", "no box", "\\boxed{\\frac{2}{4}}"]
    found = [grade.process_results({"answer": "\\frac12"}, [text])["exact_match"] for text in texts]
    assert found == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert time.monotonic() - start < 20
