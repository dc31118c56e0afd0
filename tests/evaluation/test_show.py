"""The tables on the terminal: every source its own row, the total its own too."""

import io

import pytest
from rich.console import Console

from jaxreason.evaluation import show

FIGURES = {
    "problems": 1,
    "accuracy": 0.5,
    "accuracy_low": 0.4,
    "accuracy_high": 0.6,
    "mean_tokens": 10.0,
    "mean_tokens_correct": 9.0,
    "mean_tokens_wrong": None,
    "truncation_rate": 0.0,
}


def _table(*sources):
    return FIGURES | {"problems": 9, "by_source": {s: FIGURES | {"problems": i + 1} for i, s in enumerate(sources)}}


def _rows(draw):
    out = io.StringIO()
    draw(Console(file=out, soft_wrap=True))
    return [line.rstrip() for line in out.getvalue().splitlines() if line.startswith("sampled")]


@pytest.mark.parametrize(
    ("sources", "labels"),
    [
        (["task/level1", "task/level2"], ["level1", "level2"]),
        (["a/test", "b/test", "c/dev"], ["a/test", "b/test", "dev"]),
        (["x/all", "y"], ["x/all", "y"]),
        (["all", "y"], ["source all", "y"]),
        (["[bold]", "x/"], ["[bold]", "x/"]),
        (["one"], []),
    ],
)
def test_every_source_has_a_row_that_can_be_told_from_the_others(sources, labels):
    """Two sources of one last name were one row, and a source named `all` took the total's place."""
    found = _table(*sources)
    rows = _rows(lambda console: show.evaluation(found, console))
    assert len(rows) == 1 + len(labels)
    assert rows[0].split()[:3] == ["sampled", "all", "9"]
    for number, (row, label) in enumerate(zip(rows[1:], labels, strict=True), start=1):
        assert row.startswith(f"sampled {label} ")
        assert row.removeprefix(f"sampled {label} ").split()[0] == str(number)
    before_after = _rows(lambda console: show.results({"base": found, "trained": found, "change": {}}, console))
    assert len(before_after) == len(rows)
    assert all(row.startswith(f"sampled {label} ") for row, label in zip(before_after, ["all", *labels], strict=True))


def test_several_samples_show_what_k_of_them_know():
    """Catches a vote of all samples printed under one sample's evaluation, and the two columns exchanged."""
    out = io.StringIO()
    several = _table("one") | {"samples": 4, "pass_at_4": 0.75, "maj_at_4": 0.625}
    show.evaluation(several, Console(file=out, soft_wrap=True))
    assert "pass@k maj@k" in " ".join(out.getvalue().split())
    assert "75.0 62.5 10.0" in " ".join(out.getvalue().split())
    assert "k = 4" in out.getvalue()
    assert "maj@k" not in _whole(lambda console: show.evaluation(_table("one") | {"samples": 1}, console))


def test_the_score_is_printed_with_its_weights():
    """Catches an AES without its constants, and a run whose start was never right."""
    change = {
        "accuracy": {"value": 0.1, "low": 0.05, "high": 0.15},
        "tokens_relative": {"value": -0.4, "low": None, "high": None},
        "aes": {"value": 0.74, "low": 0.5, "high": 1.0},
    }
    found = {"base": _table("one"), "trained": _table("one")}
    text = _whole(lambda console: show.results(found | {"change": {"sampled": change}}, console))
    assert "accuracy +10.0 points (+5.0 to +15.0), tokens -40.0 %, AES(1, 3, 5) +0.74 (+0.50 to +1.00)" in text
    del change["aes"]
    assert "AES" not in _whole(lambda console: show.results(found | {"change": {"sampled": change}}, console))


def _whole(draw):
    out = io.StringIO()
    draw(Console(file=out, soft_wrap=True))
    return out.getvalue()
