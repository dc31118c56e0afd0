"""Every row of the table of rules is run, so that the page cannot say what the grader does not do."""

import re
from pathlib import Path

import pytest

from jaxreason.grading.answers import grade

PAGE = Path(__file__).parents[2] / "docs" / "grading.md"


def _rows() -> list[tuple[str, str, str, list[str], list[str]]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| Rule | Question | Gold | Right | Wrong |") + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rule, question, gold, right, wrong = line.strip("|").split("|")
        codes = [re.findall(r"`([^`]+)`", cell) for cell in (question, gold, right, wrong)]
        rows.append((rule.strip(), " ".join(codes[0]), codes[1][0], codes[2], codes[3]))
    return rows


@pytest.mark.parametrize(("rule", "question", "gold", "right", "wrong"), _rows(), ids=lambda value: str(value)[:60])
def test_a_rule_does_what_its_row_says(rule, question, gold, right, wrong):
    assert right, rule
    assert wrong, rule
    assert {a: grade(a, gold, question).outcome for a in right} == dict.fromkeys(right, "right")
    assert {a: grade(a, gold, question).outcome for a in wrong} == dict.fromkeys(wrong, "wrong")


def test_the_table_is_read():
    assert len(_rows()) > 50
