"""The chunks and scores that a run stores beside the answers its report shows."""

import json
import shutil

import chex
import jax
import numpy as np
import pytest

from jaxreason.agents import helper_sampling
from jaxreason.agents.explain import explain
from jaxreason.cli import main
from jaxreason.config import Config
from jaxreason.data.problems import Problem
from jaxreason.evaluation import heldout, loop, stored
from tests import runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


def _answers(folder, step):
    file = folder / "evaluation" / f"step_{step:06d}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_answers_of_both_sides_are_split_by_the_helpers_of_the_start(warm, tmp_path, monkeypatch):
    """Catches helpers that were trained in between, a batch of a shape that training does not have, chunks on another
    answer than theirs, and an answer cut at the limit that was asked about."""
    seen, widths, ask = [], [], helper_sampling.ask

    def explained(params, *arguments, **named):
        seen.append(jax.device_get(params))
        return explain(params, *arguments, **named)

    def asked(asking, question, shape):
        widths.append(len(question.rows))
        return ask(asking, question, shape)

    monkeypatch.setattr(heldout, "explain", explained)
    monkeypatch.setattr(helper_sampling, "ask", asked)
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, "--run.max_steps=2", "--run.eval_steps=1") == 0
    place = stored.open_place(str(warm))
    start = jax.device_get(stored.load_policy(place.path, place.config, 0)[0])
    assert len(seen) == 2, "after steps 1 and 2; what was done before the first step was found"
    for params in seen:
        chex.assert_trees_all_equal(params, start)
    assert set(widths) == {4 * 4}, "P times G rows, however many answers there are"

    coloured = 0
    for row in _answers(folder, 0) + _answers(folder, 1) + _answers(folder, 2):
        assert row["sample_index"] == 0
        y = "".join(row["chunks"])
        assert row["resps"][0][0].startswith(y)
        assert len(row["chunks"]) == len(row["scores"]) == len(row["chunk_lengths"])
        assert sum(row["chunk_lengths"]) <= row["n_tokens"]
        if row["finish_reason"] == "length":
            assert (row["chunks"], row["segment_cause"], row["score_cause"]) == ([], "", "")
        if row["score_cause"] == "ok":
            coloured += 1
            assert set(row["scores"]) <= {1, 2, 3, 4, 5}
            assert min(row["chunk_lengths"]) > 0
    assert coloured > 48, "more than half of 3 evaluations with 32 answers each"


def test_no_figure_knows_of_the_helpers(warm, tmp_path, monkeypatch):
    """Catches a key that both use, or an answer that the helpers change: without them all numbers are the same."""
    with_them, without = (runs.begin(warm, tmp_path / name) for name in ("with", "without"))
    assert runs.train(with_them, "--run.max_steps=2", "--run.eval_steps=1") == 0
    monkeypatch.setattr(heldout, "chunks_of_shown", lambda *arguments: {})
    assert runs.train(without, "--run.max_steps=2", "--run.eval_steps=1") == 0
    assert runs.rows(with_them) == runs.rows(without)
    assert runs.results(with_them) == runs.results(without)
    for step in (1, 2):
        name = f"evaluation/step_{step:06d}.json"
        assert (with_them / name).read_bytes() == (without / name).read_bytes()
        bare = _answers(without, step)
        assert [{k: row[k] for k in bare[0]} for row in _answers(with_them, step)] == bare
        assert "chunks" not in bare[0]


def test_first_answers_of_a_few_problems_are_asked_about(monkeypatch):
    """Catches the second answer to a problem, another problem's, and an end token that is taken for text."""
    Q, k, T = 5, 3, 6
    problems = [Problem(f"p{q}", f"question {q}", "0", source="ab"[q % 2]) for q in range(Q)]
    length = np.full((Q, k), 4)
    finished = np.ones((Q, k), bool)
    length[1, 0], finished[1, 0] = T, False
    finished[0, 1] = False
    nothing = np.zeros((Q, k), int)
    first = 100 * np.arange(Q)[:, None] + np.arange(T)
    some = loop.Answers(nothing > 0, nothing > 0, length, finished, nothing, first, [])
    greedy = loop.Answers(*(x[:, :1] for x in some[:5]), first + 50, [])

    def stand_in(params, asked, answers, key, config, tokenizer, *, rows, wait, advance):
        assert (params, config, rows) == ("helpers", Config(), 128)
        return [{"chunks": [problem.id], "ids": ids} for problem, ids in zip(asked, answers, strict=True)]

    monkeypatch.setattr(heldout, "explain", stand_in)
    both = {"sampled": some, "greedy": greedy}
    found = heldout.chunks_of_shown("helpers", both, problems, [0, 1], jax.random.key(0), Config(), None)  # pyright: ignore
    assert found == {
        ("sampled", 0): {"chunks": ["p0"], "ids": [0, 1, 2]},
        ("sampled", 3): {"chunks": ["p1"], "ids": []},
        ("greedy", 0): {"chunks": ["p0"], "ids": [50, 51, 52]},
        ("greedy", 1): {"chunks": ["p1"], "ids": []},
    }


def test_an_evaluation_may_run_on_beyond_the_rollouts_limit(warm, tmp_path):
    """Catches an evaluation cut where rollouts are (it would hide what a short limit in training does), one that draws
    otherwise under another limit, and an answer too long for the helpers that they are asked about."""
    short = stored.open_place(str(warm)).config.sampling.max_completion_length
    long = short + 24
    cut = [row for row in _answers(warm, 0) if row["finish_reason"] == "length"]
    assert cut, "else nothing here is seen"
    folder = runs.begin(warm, tmp_path / "run")
    shutil.rmtree(folder / "evaluation")
    limit = f"--evaluation.max_completion_length={long}"
    assert runs.train(folder, "--run.max_steps=0", limit) == 0
    before = {(row["mode"], row["doc_id"]): row for row in _answers(warm, 0)}
    further = 0
    for row in _answers(folder, 0):
        other = before[row["mode"], row["doc_id"]]
        assert row["resps"][0][0].startswith(other["resps"][0][0])
        if other["finish_reason"] == "stop":
            assert row["n_tokens"] == other["n_tokens"]
        else:
            further += row["n_tokens"] > short
            assert row["n_tokens"] <= long
        if row["n_tokens"] > short:
            assert row["chunks"] == []
    assert further == len(cut)
    assert max(map(int, runs.results(folder)["base"]["budgets"])) == long

    again = tmp_path / "again.json"
    assert main(["evaluate", str(warm), f"--output={again}", runs.NO_CACHE, limit]) == 0
    assert json.loads(again.read_text())["limit"] == long
    rows = json.loads((folder / "evaluation" / "step_000000.json").read_text())["answers"]
    assert json.loads(again.read_text())["answers"] == rows
