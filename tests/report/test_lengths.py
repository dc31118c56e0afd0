"""Histograms of lengths: what is counted in which bin, and which answers earn a reward."""

import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from jaxreason.config import RewardConfig
from jaxreason.report import chart, lengths
from jaxreason.report.read import read_runs
from jaxreason.rewards.methods import METHODS, has_target
from tests.report.folders import completion, lines
from tests.rewards.moments import completions, memory_of, random_step


@pytest.mark.parametrize(("high", "most"), [(97, 10), (100, 10), (208, 24), (4096, 24), (1, 24), (25, 24), (32768, 24)])
def test_bins_cover_every_length_once(high, most):
    """Catches the longest answer outside the last bin, and bins that split a token."""
    edges = chart.bins(high, most)
    assert edges[0] == 0
    assert edges[-1] >= high > edges[-2]
    assert len(set(np.diff(edges))) == 1
    assert np.diff(edges)[0] == round(np.diff(edges)[0])
    assert len(edges) <= most + 2


def test_an_outline_has_the_height_of_its_shares():
    """Catches a bin drawn at its neighbour's place, by hand: 25 % up to 10 tokens, 75 % up to 20."""
    frame, edges = chart.Frame(0, 20, 0, 1), np.array([0.0, 10.0, 20.0])
    svg = chart.histogram("t", [chart.Bars("after", "accent", np.array([0.25, 0.75]))], edges, frame, write=str)
    left, middle, right, floor = frame.x(0), frame.x(10), frame.x(20), frame.y(0)
    outline = f"M{left} {floor}V{frame.y(0.25)}H{middle}V{frame.y(0.75)}H{right}V{floor}"
    assert re.search(rf'd="{re.escape(outline)}" class="run accent"', svg)


def run_of(make, *, reward, answers, evaluated=0):
    """A run with rollouts of 100 tokens whose answers are (tokens, right), before and after."""
    folder = make()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {"reward": reward, "sampling": {"max_completion_length": 100}}
    config |= {"evaluation": {"max_completion_length": evaluated}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for step, side in zip((0, 12), answers, strict=True):
        rows = [
            completion(n, "x", mode="sampled", n_tokens=tokens, exact_match=int(right))
            for n, (tokens, right) in enumerate(side)
        ]
        (folder / f"evaluation/step_{step:06d}.jsonl").write_text(lines(rows))
    return read_runs([folder])[0]


ANSWERS = [[(90, 1), (40, 1), (50, 1), (100, 0)], [(30, 1), (60, 1), (20, 0), (30, 1)]]


def test_answers_are_counted_by_kind(make):
    """Catches wrong answers among the right ones, and a target that does not separate R > 0 from being right."""
    run = run_of(make, reward={"preset": "truncation", "target_length": 50}, answers=ANSWERS)
    right, rewarded, wrong = lengths.histograms(run, "sampled")
    assert "Before: 3 of 4 (75\u202f%), median 50 tokens; after: 3 of 4 (75\u202f%), median 30 tokens." in right
    assert "R &gt; 0: right and at most 50 tokens. Before: 2 of 4" in rewarded
    assert "after: 2 of 4" in rewarded
    assert "Before: 1 of 4 (25\u202f%), median 100 tokens; after: 1 of 4" in wrong
    assert ">target</text>" in right
    assert lengths.histograms(run, "greedy") == []


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ({"preset": "truncation", "target_length": 50}, 50),
        ({"preset": "truncation", "target_length": 100}, None),
        ({"preset": "truncation", "target_length": 0}, None),
        ({"preset": "think_prune", "target_length": 0}, 50),
        ({"preset": "laser", "target_length": 50}, None),
        ({"preset": "truncation", "target_length": 20, "target_quantile": 0.9}, 44),
    ],
)
def test_the_target_beyond_which_nothing_is_earned(make, reward, expected):
    """Catches the floor of a target that moves taken for the target, and a bonus taken for all of the reward."""
    run = run_of(make, reward=reward, answers=ANSWERS)
    file = run.path / "metrics.jsonl"
    file.write_text(file.read_text() + json.dumps({"step": 13, "reason/target_length": 44}) + "\n")
    assert lengths.target_of(read_runs([run.path])[0]) == expected


@pytest.mark.parametrize("name", METHODS)
def test_the_methods_under_which_long_answers_earn_nothing_are_known(name):
    """Catches a new method of this kind that the page would show without its target: a right answer of 30 at 20."""
    step = random_step(0) | {"right": np.ones((3, 6), bool), "finished": np.ones((3, 6), bool)}
    step |= {"length": np.full((3, 6), 30, np.int32), "progress": np.float32(1), "keep": np.ones((3, 6), bool)}
    config = RewardConfig(preset=name, target_length=20)
    found = METHODS[name].judge(completions(step, memory=memory_of(METHODS[name])), config)
    nothing = has_target(METHODS[name], config) and bool(jnp.all(found.reward <= 0))
    assert nothing == (name in lengths.CAPPED)


def test_a_target_at_the_rollouts_limit_counts_where_evaluations_run_on(make):
    run = run_of(make, reward={"preset": "truncation", "target_length": 0}, answers=ANSWERS, evaluated=200)
    assert lengths.target_of(run) == 100
