"""The audit: what it must find, and that its spellings and changes are what they are called."""

import pytest

from jaxreason.grading import audit as audit_module
from jaxreason.grading import verdicts
from jaxreason.grading.answers import audit
from jaxreason.grading.audit import rewrites, shifts
from jaxreason.grading.pool import Pool

GOLDS = [
    "5",
    "-12",
    "1234567",
    "0.15",
    ".75",
    "27.0",
    r"10,\!080",
    r"\$32,\!348",
    r"\frac{14}{3}",
    r"-\frac{35}{9}",
    r"\frac43",
    r"1\frac{4}{5}",
    "1/2",
    r"3\sqrt{13}",
    r"4.5\times 10^{33}",
    "4.5e33",
    r"6 - 5i",
    r"\frac{\pi}{2}",
    r"x^5 - x^4 + x^3 - x^2 + x - 1",
    "$3 x y$",
    r"2k+2",
    r"y = 2x + 3",
    r"5x - 7y + 11z + 4 = 0",
    "x=5",
    "1,-2",
    "3, 5, 7",
    r"1 \pm \sqrt{19}",
    r"\{1\pm\sqrt{5},-2\}",
    r"\left( 3, \frac{\pi}{2} \right)",
    "(6,31,-1)",
    "(45,2),(-10,-9)",
    r"\left(\frac{3}{5},\frac{8}{3}\right]",
    r"(-\infty, 2) \cup (3, \infty)",
    r"x \in [-2,7]",
    "$x<-7:(-\\infty,-7)$",
    r"\begin{pmatrix} -2 \\ -14 \\ -7 \end{pmatrix}",
    r"\begin{pmatrix} -1 & 0 \\ 0 & -1 \end{pmatrix}",
    r"$B^{-1}=\left[\begin{array}{rr}3 & 7 \\ 5 & 12\end{array}\right]$",
    "52_8",
    "4210_{5}",
    r"90^\circ",
    r"\frac{270}7\text{ degrees}",
    r"15\mbox{ cm}^2",
    r"5.4 \text{ cents}",
    r"$6.608 \mathrm{mi} / \mathrm{hr}$",
    r"8 \%",
    "2:15 PM",
    "3:4",
    r"\text{(C)}",
    r"\text{Evelyn}",
    "no solution",
    "all real numbers",
    r"m n-\lfloor m / 2\rfloor",
    r"\binom{2n}{n}",
    r"\text{east}",
]


def test_golds_of_every_form_pass():
    assert audit(GOLDS) == {}


@pytest.mark.parametrize("gold", GOLDS)
def test_every_form_is_really_tried(gold):
    """An audit without spellings or changes would find nothing and say nothing."""
    assert len(rewrites(gold)) >= 2
    assert all(answer != gold for answer in [*rewrites(gold).values(), *shifts(gold).values()])


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        ("18", "near"),
        ("18", "hedge"),
        ("18", "contradiction"),
        ("10:30 AM", "last_number"),
        ("52_8", "other_base"),
        (r"10\text{ cm}", "other_unit"),
        (r"\text{(C)}", "other_letter"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "rotated"),
        ("(1,2)", "rotated"),
        ("(1,2)", "bracket"),
        ("1,2", "one_less"),
        (r"\frac{2}{3}", "inverted"),
        ("2x+3y", "other_sign"),
        (r"\sqrt{2}", "no_root"),
        (r"\text{Amy Winter}", "other_word"),
    ],
)
def test_a_change_of_every_kind_is_made(gold, kind):
    assert kind in shifts(gold)


def test_golds_that_cannot_be_graded_are_named():
    golds = ["5", "1/2", "east", "x<", r"\frac{1}{", "1,2", "", "y" * 301, r"\begin{pmatrix}1"]
    found = audit(golds)
    assert list(found) == [3, 4, 6, 7, 8]
    assert found[6] == "empty"
    assert found[7] == "longer than 300 characters"
    assert found[3].startswith("its form")


def test_a_grader_that_destroys_a_matrix_on_both_sides_is_found_out(monkeypatch):
    r"""The old one took `\\ ` for a space: every gold equalled itself, and the rotated vector too."""

    def destroying(prediction, gold, question=""):
        def spoilt(text):
            return sorted(text.replace("\\\\", " ").replace("&", " ").split())

        same = spoilt(prediction) == spoilt(gold)
        return verdicts.Verdict("right" if same else "wrong", "string", "ok")

    monkeypatch.setattr(audit_module, "quick", destroying)
    gold = r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"
    assert destroying(gold, gold).outcome == "right"
    assert 0 in audit([gold])


def test_what_only_math_verify_can_tell_goes_to_the_pool():
    golds = [r"\sum_{n=1}^{8} 2^n", r"\int_2^3 x dx", "7"]
    asked = []

    def verify(pairs):
        asked.extend(pairs)
        return [verdicts.Verdict("right", "math_verify", "ok")] * len(pairs)

    audit(golds, verify)
    assert asked
    assert all(gold != "7" for _, gold in asked)
    with Pool(num_workers=1) as pool:
        assert audit(golds, pool.verify) == {}


def test_equal_golds_are_tried_once(monkeypatch):
    """GSM8K has 7,473 golds and 900 different ones."""
    calls = []
    monkeypatch.setattr(audit_module, "quick", lambda *pair: calls.append(pair) or verdicts.quick(*pair))
    audit(["7"] * 50)
    assert len(calls) == len({*calls})
