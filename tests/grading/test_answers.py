"""Answers, each case a mistake that a grader really makes."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.grading import answers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),  # a regex up to the first brace would give \frac{1
        (r"\boxed{3} no, \boxed{4}.", "4"),  # the last, not the first
        (r"\boxed{5}</think>It is 6.", None),  # a box in the thoughts is no answer
        (r"a</think>\boxed{1}</think>\boxed{2}", "2"),
        (r"\boxed{5} then \boxed{6", "5"),  # cut at the limit: the open box does not count
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),  # escaped braces do not nest
        (r"\boxed {7}", "7"),
        (r"\boxed 5", None),
        ("5", None),
        ("", None),
        (r"\boxed{" + "1" * 301 + "}", None),
        (r"\boxed{}", ""),
    ],
)
def test_boxed_takes_the_last_balanced_box_of_the_visible_answer(text, expected):
    assert answers.boxed(text) == expected


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("7", "7"),
        ("7", "007"),
        ("1000", "1{,}000"),
        ("12,345", "12345"),
        ("-3", "+-3".removeprefix("+")),
        ("$5$", "5"),
        (r"\boxed{5}", "5."),
        (r"\frac{3}{4}", r"\dfrac{3}{4}"),
        (r"(3,4)", r"\left(3,4\right)"),
        (r"\text{east}", "East"),
    ],
)
def test_the_fast_path_accepts_what_is_equal(gold, prediction):
    verdict = answers.quick(prediction, gold)
    assert verdict is not None
    assert verdict.outcome == "right"


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        (r"\frac12", "0.5"),
        ("1/2", r"\frac{2}{4}"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        ("2x+1", "1+2x"),
        (r"\{1,2\}", "2,1"),
        ("1,2", r"1 \text{ or } 2"),
        ("3", "x=3"),
        (r"90^\circ", "90"),
        ("1000", "1,000.0"),
        (r"10\text{ cm}", "10cm"),
        ("x<2", r"(-\infty,2)"),
    ],
)
def test_algebra_accepts_another_form(gold, prediction):
    """Comparing strings only would lose these."""
    assert answers.quick(prediction, gold) is None
    assert answers.grade(prediction, gold).outcome == "right"


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("10 cm", "10 m"),
        (r"50\%", "50"),
        (r"50\%", "0.5"),
        ("5", "2+2+1"),
        ("120", "5!"),
        ("55", r"\sum_{k=1}^{10}k"),
        ("11", "11_2"),
        ("(1,2)", "1,2"),
        ("5", r"5 \text{ or } 6"),
        ("1", "1;3"),
        ("listen", "silent"),
        ("7", "12"),
        ("7", ""),
        ("7", "seven"),
        ("7", None),
        ("7", "7" * 400),
    ],
)
def test_math_verifys_false_acceptances_are_wrong(gold, prediction):
    verdict = answers.quick(prediction, gold)
    assert verdict is not None
    assert verdict.outcome == "wrong"


def test_the_false_acceptances_are_math_verifys_own():
    """Should a newer math-verify reject these, the rules above can go."""
    for gold, prediction in [("10 cm", "10 m"), ("5", "2+2+1"), ("11", "11_2"), ("(1,2)", "1,2")]:
        assert answers.symbolic(prediction, gold).outcome == "right"


@pytest.mark.parametrize("gold", ["", "$$", "x" * 301, r"\frac{1}{"])
def test_a_gold_that_cannot_be_read_is_an_error_and_never_a_wrong_answer(gold):
    assert answers.grade("0.5", gold).outcome == "error"


def test_a_broken_math_verify_is_an_error_and_never_a_wrong_answer(monkeypatch):
    import math_verify

    def broken(*_, **__):
        raise RuntimeError("no sympy today")

    monkeypatch.setattr(math_verify, "verify", broken)
    verdict = answers.grade("0.5", r"\frac12")
    assert (verdict.outcome, verdict.status) == ("error", "RuntimeError")


@pytest.mark.parametrize("prediction", ["}{", r"\frac{1}{", r"\left(", "((((", r"\begin{matrix}"])
def test_an_unreadable_prediction_is_wrong_and_not_masked(prediction):
    """Were it masked, gibberish would be a way out of a zero."""
    assert answers.grade(prediction, r"\frac12").outcome == "wrong"


def test_the_audit_names_golds_that_do_not_verify_against_themselves():
    golds = ["5", "1/2", "east", "x<", r"\frac{1}{", "1,2", "", "y" * 301]
    assert list(answers.audit(golds)) == [3, 4, 6, 7]


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_integers_are_compared_as_integers(a, b):
    """Floats would make 2^53 and 2^53 + 1 equal."""
    verdict = answers.quick(f"{a:,}", str(b))
    assert verdict is not None
    assert (verdict.outcome == "right") == (a == b)


@given(st.text(max_size=60), st.text(max_size=20))
def test_the_fast_path_never_raises(prediction, gold):
    answers.quick(prediction, gold)
    answers.boxed(prediction)


def test_exact_answers_import_neither_math_verify_nor_jax():
    """The arithmetic task must not pay 0.7 s and 100 MB for sympy, nor a worker for jax."""
    code = (
        "import sys; from jaxreason.grading import answers; "
        "answers.grade('12', '12'); answers.grade('13', '12'); answers.grade('1+', '12'); "
        "bad = {'math_verify', 'sympy', 'jax', 'numpy'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
