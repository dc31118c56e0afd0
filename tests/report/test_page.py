"""The report page, from folders written here by hand: what it shows, what it survives, and that it asks for nothing."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys

import pytest

from jaxreason.report import write_report
from jaxreason.report.read import read_runs
from tests.report.folders import Page, completion, lines, metric_row, read, table


def test_the_table_shows_the_numbers_of_the_results(make):
    """A column mixed up with its neighbour, or before with after."""
    page = Page(read(make()))
    at = page.cells.index("all problems | 4 problems")
    shown = [cell.replace("\u202f", " ") for cell in page.cells[at + 1 : at + 15]]
    assert shown == [
        "61.0 | 50.0 to 70.0",
        "63.3 | 52.3 to 72.3",
        "+2.3 | +1.2 to +3.5",
        "95.4 | 91.5 to 99.3",
        "56.0 | 52.1 to 60.0",
        "−41.2 % | −43.5 to −39.0".replace("41.2", f"{100 * (1 - 56.04 / 95.37):.1f}"),
        *["88.1", "48.7", "–", "–", "1.7", "1.7", "40.0", "40.0"],
    ]
    assert page.cells.count("level1 | 4 problems") == 2  # sampled and greedy


def test_the_headline_says_what_ran_and_what_came_out(make):
    """A result without its interval, or a run that cannot be told from another."""
    text = read(make()).replace("\u202f", " ")
    assert "Sampled, the policy takes 41.2 % fewer tokens (95 % interval −43.5 to −39.0 %)" in text
    assert "accuracy changes by +2.3 points (+1.2 to +3.5)" in text
    for fact in ("guarded", "abcdef0123, modified", "8 × TPU v5e, 2 processes", "2.0 hours", "12 of 12"):
        assert fact in text, fact


def test_the_page_asks_for_nothing_from_outside(make):
    """A font, an image or a script of another host: the page would tell where it is read, or break offline."""
    text = read(make(text="see https://example.org/ url(https://example.org/x)"))
    page = Page(text)
    asked = [value for _, attrs in page.elements for name, value in attrs.items() if name in ("src", "href", "action")]
    assert asked
    assert all(value.startswith("#") for value in asked)
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert not re.search(r"url\(|@import|https?:", style)
    assert not re.search(r"https?:|fetch|XMLHttp|innerHTML", re.search(r"<script>(.*?)</script>", text, re.S)[1])
    policy = next(a["content"] for a in page.all("meta") if "Content-Security-Policy" in a.values())
    assert re.fullmatch(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/=]+'", policy)


def test_the_script_is_the_one_that_the_policy_allows(make):
    """A hash of something else: the filters would silently be dead."""
    text = read(make())
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;" in text


def test_the_same_folders_give_the_same_bytes(make):
    """A clock, a random id or the order of a set in the page."""
    folder = make()
    first = write_report([folder]).read_bytes()
    assert write_report([folder], folder / "again.html").read_bytes() == first


def test_every_anchor_exists_once(make):
    """A link of the contents that leads nowhere."""
    page = Page(read(make("a"), make("b")))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in page.all("a")} == {f"#{name}" for name in ids}


@pytest.mark.parametrize(
    "missing",
    [
        "results.json",
        "metrics.jsonl",
        "env.json",
        "config.yaml",
        "evaluation",
        "samples",
        "evaluation/step_000012.jsonl",
    ],
)
def test_a_missing_part_leaves_the_others(make, missing):
    """A run that was stopped, or copied in part, and gets a traceback instead of a page."""
    folder = make()
    shutil.rmtree(folder / missing) if (folder / missing).is_dir() else (folder / missing).unlink()
    page = Page(read(folder))
    assert page.all("h1")
    assert bool(page.all("section", id="curves")) == (missing != "metrics.jsonl")
    assert bool(page.all("section", id="samples")) == (missing != "samples")
    assert page.all("section", id="results")


def test_an_empty_run_says_so(tmp_path):
    """A folder in which training has just begun."""
    (tmp_path / "config.yaml").write_text("run: {max_steps: 80}\n")
    text = read(tmp_path)
    assert "no result yet: 0 of 80 steps are done. There is no evaluation." in text


def test_no_training_is_no_result(make):
    """A run of 0 steps that boasts of a change of 0.0."""
    folder = make()
    (folder / "metrics.jsonl").unlink()
    found = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(found | {"steps": 0}))
    text = read(folder)
    assert "No step of training was asked for" in text
    assert 'class="results"' not in text
    assert "after" not in re.search(r"<thead>.*?</thead>", text)[0]


def test_an_unfinished_run_shows_its_last_evaluation(make):
    """An intermediate evaluation passed off as the result."""
    folder = make()
    (folder / "results.json").unlink()
    text = read(folder)
    assert "no result yet: 12 of 12 steps are done. The latest evaluation is of step 12." in text
    assert ">step 12</th>" in text


def test_torn_files_are_named_and_survived(make):
    """A kill in the middle of a line, or of a file."""
    folder = make()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "reason/accu')
    rows = (folder / "evaluation/step_000000.jsonl").read_text()
    (folder / "evaluation/step_000000.jsonl").write_text(rows[:-40])
    (folder / "results.json").write_text('{"base": {')
    text = read(folder)
    for name in ("metrics.jsonl", "evaluation/step_000000.jsonl", "results.json"):
        assert name in re.search(r"Could not be read[^<]*", text)[0]


def test_a_run_without_helpers_has_no_charts_of_them(make):
    """Empty frames for lp and grpo runs."""
    folder = make()
    rows = [{k: v for k, v in metric_row(s).items() if not k.startswith(("score/", "segment/"))} for s in range(1, 13)]
    (folder / "metrics.jsonl").write_text(lines(rows))
    shown = {attrs["aria-label"] for attrs in Page(read(folder)).all("svg")}
    assert {"Accuracy", "Tokens of an answer", "Reward", "Time"} <= shown
    assert not shown & {"Chunks", "Mean score of a chunk", "Chunks at each score", "Live minus frozen score"}


def test_a_method_without_a_price_has_no_alpha(make):
    """Catches the default of a setting that the run did not read, shown as if it had."""
    folder = make()
    assert "<dt>alpha</dt><dd>0.5</dd>" in read(folder)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["reason/rewards/penalty/mean"]
    (folder / "metrics.jsonl").write_text(lines(rows))
    assert "<dt>alpha</dt>" not in read(folder)


def test_values_of_the_wrong_kind_are_dashes(make):
    """A file written by another version, with text or nothing where a number is expected."""
    folder = make()
    (folder / "results.json").write_text(json.dumps({"base": {"accuracy": "x"}, "trained": [], "change": 3}))
    (folder / "config.yaml").write_text("run: 5\nreward: [1]\n")
    (folder / "metrics.jsonl").write_text(
        lines([{"step": 1, "reason/accuracy": "high", "warnings": "no", "time/a": None}])
    )
    (folder / "samples/step_000001.jsonl").write_text(
        lines([{"doc": 3, "scores": 4, "resps": None, "chunks": [None]}, {}])
    )
    assert "<h1>run</h1>" in read(folder)


def test_several_runs_are_told_apart(make):
    """Two runs of one name, or the point of one labelled as the other's."""
    first, second = make("one/run"), make("two/run")
    found = json.loads((second / "results.json").read_text())
    found["trained"] = table(0.7, 40.0)
    (second / "results.json").write_text(json.dumps(found))
    text = read(first, second)
    assert text.index("<h2>one/run</h2>") < text.index("<h2>two/run</h2>")
    page = Page(text)
    assert page.all("section", id="runs")
    row = page.cells.index("● two/run")
    assert page.cells[row + 5 : row + 9 : 2] == ["70.0 | 59.0 to 79.0", "40.0 | 36.1 to 43.9"]
    assert len(read_runs([first, second])[0].label.split("/")) == 2


@pytest.mark.parametrize("kind", ["empty folder", "no folder", "twice", "none"])
def test_no_run_is_one_line(make, tmp_path, kind):
    """A traceback, or an empty page, for a mistyped folder."""
    folder = make()
    (tmp_path / "empty").mkdir()
    runs = {
        "empty folder": [tmp_path / "empty"],
        "no folder": [tmp_path / "absent"],
        "twice": [folder, folder / "samples" / ".."],
        "none": [],
    }[kind]
    with pytest.raises(ValueError, match="expected") as caught:
        write_report(runs)
    assert "\n" not in str(caught.value)


def test_reading_starts_no_jax(make):
    """A report that waits for an accelerator, or takes it from the run it reports on."""
    code = (
        "import sys; from pathlib import Path; from jaxreason.report import write_report;"
        f"write_report([Path({str(make())!r})]); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_necessary_prefix_of_right_answers(make):
    """Catches wrong answers counted in: of four answers two are right, one of which says 4 in its second chunk of 3."""
    folder = make()
    fields = {"chunks": ["2+2\n", "=4\n", "yes 4"], "chunk_lengths": [3, 2, 5], "mode": "sampled"}
    rows = [
        completion(0, "x", **fields | {"filtered_resps": ["4"], "exact_match": 1}),
        completion(1, "x", **fields | {"filtered_resps": ["2"], "exact_match": 1}),
        completion(2, "x", **fields | {"filtered_resps": ["3"], "exact_match": 0}),
        completion(3, "x", mode="sampled", exact_match=1),
    ]
    (folder / "evaluation/step_000012.jsonl").write_text(lines(rows))
    assert "chunk that holds the answer: after 40\u202f% of the tokens in 2 right answers" in read(folder)
