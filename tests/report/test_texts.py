"""What the policy wrote, in the report: which texts, in which colours, and that they stay inert."""

import json
import re

import yaml

from jaxreason.report import choice
from jaxreason.report.markup import Markup, el, escape, join
from tests.report.folders import EVIL, Page, completion, figures, lines, metric_row, read


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


def test_texts_are_limited(make):
    """A page of hundreds of megabytes from a long run with long answers."""
    folder = make(num_steps=100, text="x" * 50_000)
    rows = [completion(n, "y" * 50_000, mode="sampled") for n in range(200)]
    (folder / "evaluation/step_000000.jsonl").write_text(lines(rows))
    text = read(folder)
    assert len(text) < 3_000_000
    assert "48 of 200 held-out problems" in text
    assert "46,000 characters left out" in text
    cards = Page(text).all("article")
    assert len([card for card in cards if "data-step" not in card]) == 48
    steps = [int(card["data-step"]) for card in cards if "data-step" in card]
    assert len(steps) <= 48
    assert {min(steps), max(steps)} == {1, 100}


def _coloured(folder, *, steps, text="one"):
    """Chunks and scores to the first two problems' sampled answers, as the evaluations of a run leave them."""
    for step in steps:
        file = folder / f"evaluation/step_{step:06d}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows[:2]:
            row |= {
                "chunks": [f"{text} at {step}\n", "two\n", "three"],
                "chunk_lengths": [8, 7, 6],
                "scores": [5, 2, 0],
            }
        file.write_text(lines(rows))


def test_chains_of_both_sides_are_in_coloured_chunks(make):
    """A chunk in its neighbour's colour or on the other side, and problems without colours taken before those with."""
    folder = make()
    _coloured(folder, steps=(0, 12), text=EVIL)
    text = read(folder)
    section = text[text.index('id="chains"') : text.index('id="samples"')]
    page = Page(section)
    cards = re.findall(r"<article.*?</article>", section, re.S)
    assert len(cards) == 2
    for card in cards:
        sides = [re.findall(r'<li class="(\w*)"><b>(.)</b><span>(.*?)</span><i>(\d+)</i>', part, re.S)
                 for part in card.split('class="answer"')[1:3]]  # fmt: skip
        for side, step in zip(sides, (0, 12), strict=True):
            assert side == [
                ("s5", "5", escape(f"{EVIL} at {step}"), "8"),
                ("s2", "2", "two", "7"),
                ("", "·", "three", "6"),
            ]
    assert not page.all("script")
    assert not page.all("img")
    assert section.count("needless") == 1, "a legend"
    assert "2 of 4 held-out problems" in section
    assert "by the helpers as they were before training (the policy itself)" in section


def test_who_gave_the_colours_is_said(make):
    """Helpers of their own passed off as the policy, and a run without colours that does not say why."""
    folder = make()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"agents": {"helper_policy": "separate"}}))
    assert "All 4 held-out problems. Without colours" in read(folder)
    _coloured(folder, steps=(0,))
    text = read(folder)
    assert "before training (a policy of their own)" in text
    assert text.count("one at 0") == 2, "the coloured side is there though the other has none"
    assert "Without colours" not in text


def test_chunks_that_helpers_did_not_make_are_the_text_and_a_cause(make):
    """An answer that vanishes with its chunks."""
    folder = make()
    for step in (0, 12):
        rows = [completion(1, "whole text", mode="sampled", chunks=[], scores=[], chunk_lengths=[])]
        rows[0] |= {"segment_cause": "too_many" if step else "", "score_cause": ""}
        (folder / f"evaluation/step_{step:06d}.jsonl").write_text(lines(rows))
    text = read(folder)
    assert text.count("<pre>whole text</pre>") == 2
    assert text.count("No chunks: too_many.") == 1


def test_an_answer_cut_at_the_limit_is_wrong(make):
    """A badge that contradicts the accuracy beside it."""
    folder = make()
    rows = [completion(1, "cut", mode="sampled", finish_reason="length")]
    for step in (0, 12):
        (folder / f"evaluation/step_{step:06d}.jsonl").write_text(lines(rows))
    cards = [card for card in Page(read(folder)).all("article") if "data-step" not in card]
    assert [card["data-outcome"] for card in cards] == ["wrong after"]


def test_markup_escapes_by_default():
    """An attribute that ends early, or text that was escaped twice."""
    assert el("p", "<", data_x='">') == '<p data-x="&quot;&gt;">&lt;</p>'
    assert escape(escape("<")) == "&lt;"
    assert join("<", Markup("<br>"), None, ["&"]) == "&lt;<br>&amp;"
    assert escape("a\ud800b\x1b") == "a\ufffdb␛"


def test_sources_share_the_cards_equally():
    """Every problem of the first level."""
    pairs = [choice.Pair("q", "a" if n < 90 else "b", "", {}) for n in range(100)]
    chosen = [pair.source for pair in choice.evenly(pairs, 20)]
    assert (chosen.count("a"), chosen.count("b")) == (10, 10)
