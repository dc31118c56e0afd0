"""What this grader is compared with: simpler graders as they are, and under the same limits."""

import time

import pytest

from jaxreason.grading.baselines import judge, string_match
from jaxreason.grading.pool import Pool


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [("2 n", "$2 n$", True), ("0.5", "1/2", False), (None, "1", False), ("", "", False), ("1.0", "1", False)],
)
def test_strings_are_compared_to_the_letter(prediction, gold, expected):
    assert string_match(prediction, gold) == expected


def test_math_verify_alone_is_math_verify_without_this_projects_rules():
    """`2+2` for 4 is right by math-verify and unevaluated by this grader: the comparison must show such pairs."""
    predictions = ["1/2", "2+2", "5", None, "7^{7^{7^{7}}}", "1/2"]
    golds = ["0.5", "4", "4", "4", "3", "0.5"]
    start = time.monotonic()
    with Pool(num_workers=1, timeout_s=1.0) as pool:
        found = judge(predictions, golds, pool)
    assert found.string == [False] * 6
    assert found.math_verify == [True, True, False, False, False, True]
    assert time.monotonic() - start < 20


def test_without_workers_strings_alone_are_compared():
    """math-verify reads text of a model, so it may run in a worker only."""
    assert judge(["1/2", "4"], ["0.5", "4"], Pool(num_workers=0)) == ([False, True], None)
