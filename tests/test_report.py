"""The report page, from folders written here by hand: what it shows, what it survives, and that it stays inert."""

import base64
import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml

from jaxreason.report import chart, choice, write_report
from jaxreason.report.markup import Markup, el, escape, join
from jaxreason.report.read import read_runs
from tests.helpers import TOLERANCE

EVIL = '</pre><script>alert(1)</script><img src=x onerror="alert(2)">&amp;\u202e\x00'
SOURCES = ("level1", "level2")


class Page(HTMLParser):
    """What a browser would see: elements with attributes, and the text of each table cell."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.cells, self._cell = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
            self._cell = len(self.cells) - 1
        elif tag == "small" and self._cell is not None:
            self.cells[self._cell] += " | "

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self.cells[self._cell] += data

    def all(self, tag, **attributes):
        return [a for t, a in self.elements if t == tag and all(a.get(k) == v for k, v in attributes.items())]


def figures(accuracy: float, tokens: float) -> dict:
    return {
        "problems": 4,
        "samples": 1,
        "accuracy": accuracy,
        "accuracy_stderr": 0.05,
        "accuracy_low": accuracy - 0.11,
        "accuracy_high": accuracy + 0.09,
        "mean_tokens": tokens,
        "mean_tokens_stderr": 2.0,
        "mean_tokens_correct": tokens - 7.3,
        "mean_tokens_wrong": None,
        "truncation_rate": 0.017,
        "needless_share": 0.4,
        "budgets": {"80": accuracy / 2, "160": accuracy},
    }


def table(accuracy: float, tokens: float) -> dict:
    sources = {name: figures(accuracy - 0.1, tokens + 3.0) for name in SOURCES}
    return figures(accuracy, tokens) | {
        "by_source": sources,
        "greedy": figures(accuracy + 0.06, tokens - 9.0) | {"by_source": sources},
    }


def estimate(value: float, half: float) -> dict:
    return {"value": value, "stderr": half / 1.96, "low": value - half, "high": value + half}


def completion(number: int, text: str, **more) -> dict:
    return {
        "doc_id": f"problem-{number}",
        "doc": {"question": f"what is {number}?", "source": SOURCES[number % 2]},
        "target": str(number),
        "sample_index": 0,
        "resps": [[text]],
        "filtered_resps": [str(number)],
        "exact_match": number % 2,
        "n_tokens": 10 + number,
        "finish_reason": "stop",
    } | more


def metric_row(step: int) -> dict:
    shares = {f"score/share_{s}": 0.2 for s in range(1, 6)}
    return shares | {
        "step": step,
        "reason/accuracy": 0.5 + 0.01 * step,
        "reason/completions/mean_length": 90.0 - step,
        "reason/entropy": 0.3,
        "segment/chunks": 6.0,
        "segment/valid": 1.0,
        "score/mean": 3.0,
        "score/live_minus_frozen": -0.1 + 0.02 * step,
        "reason/reward": 0.4,
        "grad_norm": None if step == 2 else 0.5,
        "time/reason": 90.0 if step == 1 else 1.0,
        "time/update": 2.0,
        "step_time": 3.0,
        "warnings": [f"step {step}: C: entropy is low"] if step == 7 else [],
    }


def lines(rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def make(tmp_path):
    """Write the folder of a finished run; `text` is what the policy wrote everywhere."""

    def build(name="run", *, text="1+1=2", num_steps=12):
        folder = tmp_path / name
        for part in ("samples", "evaluation"):
            (folder / part).mkdir(parents=True)
        config = {
            "run": {"seed": 3, "max_steps": num_steps},
            "reward": {"preset": "guarded", "alpha": 0.5, "require_eos": True},
            "monitor": {"inflation_gap": 0.1},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        env = {
            "started": "2026-01-02T03:04:05+00:00",
            "command": ["jaxreason", "train", "configs/x.yaml"],
            "git": {"sha": "abcdef0123456789", "dirty": True},
            "devices": {"kind": "TPU v5e", "count": 8, "processes": 2},
            "versions": {"jax": "0.10.2"},
        }
        (folder / "env.json").write_text(json.dumps(env))
        (folder / "metrics.jsonl").write_text(lines(metric_row(step) for step in range(1, num_steps + 1)))
        for step in (0, num_steps):
            rows = [completion(n, f"{text} at {step}", mode=mode) for mode in ("sampled", "greedy") for n in range(4)]
            (folder / f"evaluation/step_{step:06d}.jsonl").write_text(lines(rows))
            found = {"table": table(0.61, 95.37), "answers": {}}
            (folder / f"evaluation/step_{step:06d}.json").write_text(json.dumps(found))
        sample = {"chunks": [f"{text} first\n", "second\n"], "chunk_lengths": [7, 4], "scores": [5, 1]}
        for step in range(1, num_steps + 1):
            rows = [completion(n, text, rewards={"reason": 0.25}, **sample) for n in (0, 1)]
            (folder / f"samples/step_{step:06d}.jsonl").write_text(lines(rows))
        change = {
            "accuracy": estimate(0.0234, 0.0111),
            "tokens": estimate(-39.0, 2.0),
            "tokens_relative": estimate(-0.4123, 0.0222),
        }
        results = {
            "base": table(0.61, 95.37),
            "trained": table(0.6334, 56.04),
            "change": {"sampled": change, "greedy": change},
            "steps": num_steps,
            "problems": 4,
            "seconds": 7200.0,
            "preset": "guarded",
            "seed": 3,
        }
        (folder / "results.json").write_text(json.dumps(results))
        return folder

    return build


def read(*folders) -> str:
    return write_report(folders).read_text(encoding="utf-8")


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


def test_model_text_cannot_become_markup(make):
    """A completion, a question, a source, a warning, a preset, a phase and a folder that try to."""
    folder = make(name="<script>alert(1)<", text=EVIL)
    found = json.loads((folder / "results.json").read_text()) | {"preset": EVIL}
    found["base"]["by_source"] = found["trained"]["by_source"] = {EVIL: figures(0.5, 50.0), "b": figures(0.5, 50.0)}
    (folder / "results.json").write_text(json.dumps(found))
    rows = [metric_row(step) | {f"time/{EVIL}": 9.0, "warnings": [EVIL]} for step in range(1, 13)]
    (folder / "metrics.jsonl").write_text(lines(rows))
    for file in folder.glob("*/*.jsonl"):
        evil = [json.loads(line) for line in file.read_text().split("\n") if line]
        for row in evil:
            row["doc"] = {"question": EVIL, "source": EVIL}
            row["target"], row["filtered_resps"], row["segment_cause"] = EVIL, [EVIL], EVIL
        file.write_text(lines(evil))
    text = read(folder)
    page = Page(text)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not [name for _, attrs in page.elements for name in attrs if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in text
    assert "\x00" not in text
    assert "␀" in text


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


def test_texts_are_limited(make):
    """A page of hundreds of megabytes from a long run with long answers."""
    folder = make(num_steps=100, text="x" * 50_000)
    rows = [completion(n, "y" * 50_000, mode="sampled") for n in range(200)]
    (folder / "evaluation/step_000000.jsonl").write_text(lines(rows))
    text = read(folder)
    assert len(text) < 3_000_000
    assert "60 of 200 held-out problems" in text
    assert "46,000 characters left out" in text
    cards = Page(text).all("article")
    assert len([card for card in cards if "data-step" not in card]) == 60
    steps = [int(card["data-step"]) for card in cards if "data-step" in card]
    assert len(steps) <= 60
    assert {min(steps), max(steps)} == {1, 100}


def test_an_answer_cut_at_the_limit_is_wrong(make):
    """A badge that contradicts the accuracy beside it."""
    folder = make()
    rows = [completion(1, "cut", mode="sampled", finish_reason="length")]
    for step in (0, 12):
        (folder / f"evaluation/step_{step:06d}.jsonl").write_text(lines(rows))
    cards = [card for card in Page(read(folder)).all("article") if "data-step" not in card]
    assert [card["data-outcome"] for card in cards] == ["wrong after"]


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


def test_markup_escapes_by_default():
    """An attribute that ends early, or text that was escaped twice."""
    assert el("p", "<", data_x='">') == '<p data-x="&quot;&gt;">&lt;</p>'
    assert escape(escape("<")) == "&lt;"
    assert join("<", Markup("<br>"), None, ["&"]) == "&lt;<br>&amp;"
    assert escape("a\ud800b\x1b") == "a\ufffdb␛"


def test_smoothing_against_a_loop():
    """Zeros taken in for NaN, or an edge pulled down."""
    value = np.array([1.0, 4.0, np.nan, 2.0, 8.0, 5.0, 7.0, 1.0, 0.0, 3.0, 9.0, 2.0])
    expected = []
    for i in range(len(value)):
        near = [j for j in range(len(value)) if abs(i - j) <= 5 and np.isfinite(value[j])]
        weight = [np.exp(-0.5 * ((i - j) / 1.5) ** 2) for j in near]
        expected.append(sum(w * value[j] for w, j in zip(weight, near, strict=True)) / sum(weight))
    np.testing.assert_allclose(chart.smoothed(value), expected, rtol=TOLERANCE["sum"])
    np.testing.assert_allclose(chart.smoothed(np.full(50, 3.0)), 3.0, rtol=TOLERANCE["sum"])
    assert np.isnan(chart.smoothed(np.full(20, np.nan))).all()


def test_labels_move_apart_within_the_chart():
    """Labels on top of each other where lines meet, or pushed off the drawing."""
    for places in ([50.0, 50.0, 50.0], [99.0, 98.0, 97.0], [0.0, 0.0, 60.0]):
        moved = sorted(chart.spread(places, 12, 0, 100))
        assert all(b - a >= 12 for a, b in itertools.pairwise(moved))
        assert 0 <= moved[0]
        assert moved[-1] <= 100


def test_a_line_ends_where_the_data_end():
    """The y axis upside down, or a value drawn at its neighbour's step."""
    frame = chart.Frame(0, 10, 0.0, 1.0)
    svg = chart.lines("t", [chart.Series("", "ink", np.array([0.0, 10.0]), np.array([0.0, 1.0]), False)], frame)
    left, right = chart.LEFT, chart.WIDTH - chart.RIGHT
    assert f'd="M{left:.1f} {chart.HEIGHT - chart.BOTTOM:.1f}L{right:.1f} {chart.TOP:.1f}"' in svg


def test_sources_share_the_cards_equally():
    """All sixty problems of the first level."""
    pairs = [choice.Pair("q", "a" if n < 90 else "b", "", {}) for n in range(100)]
    chosen = [pair.source for pair in choice.evenly(pairs, 20)]
    assert (chosen.count("a"), chosen.count("b")) == (10, 10)
