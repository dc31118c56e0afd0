"""`jaxreason data split MODEL`: pass rates, thresholds, files that training reads, going on where it stopped."""

import json
import os
import signal

import numpy as np
import pytest

from jaxreason.cli import main
from jaxreason.data import difficulty as rates
from jaxreason.data import problems
from jaxreason.data.difficulty import Outcome
from jaxreason.data.problems import Problem
from jaxreason.evaluation import difficulty, loop
from tests.released import write_checkpoint

SETTINGS = ["--sampling.max_completion_length=8", "--run.compilation_cache_dir=", "--mesh.fsdp=1"]
SETTINGS += ["--grading.num_workers=0", "--evaluation.temperature=1", "--evaluation.top_p=1"]
RIGHT = (0, 4, 2, 3, 4)
"""Right answers of 4 to each of the problems."""


def rated(rate):
    return Problem(f"p{rate}", "?", "1", meta={rates.PASS_RATE: rate})


def test_thresholds_are_the_papers_strict_above():
    """5 of 8 is easy and 4 of 8 hard; with >= every problem in the middle would change sides."""
    some = [rated(n / 8) for n in range(9)]
    parts = rates.divide(some, rates.THRESHOLD, rates.THRESHOLD)
    assert [p.meta["pass_rate"] * 8 for p in parts["easy"]] == [5, 6, 7, 8]
    assert [p.meta["pass_rate"] * 8 for p in parts["hard"]] == [0, 1, 2, 3, 4], "never solved ones are hard"
    parts = rates.divide(some, 0.75, 0.25)
    assert [len(parts[name]) for name in ("easy", "hard", "between")] == [2, 3, 4]


def test_an_answer_that_cannot_be_graded_is_not_a_wrong_one():
    outcome = Outcome("a", [True, False, False, False], [True, False, True, False], [4, 6, 8, 10], [True, False] * 2)
    meta = rates.rated(Problem("a", "?", "1", meta={"level": 3, "pass_rate": "old"}), outcome).meta
    assert meta == {"level": 3, "pass_rate": 0.5, "mean_tokens": 7, "cut_share": 0.5}
    assert Outcome("a", [False], [False], [1], [True]).pass_rate is None


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, "qwen3_instruct")
    return folder


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "five.jsonl"
    some = [Problem(f"id{n}", f"What is {n}+1?", str(n + 1), "sums", {"level": n}) for n in range(len(RIGHT))]
    problems.write_jsonl(some, file)
    return file


@pytest.fixture
def graded(monkeypatch):
    """Answers that are right as RIGHT has it, the first of each problem; what is sampled stays. Gives the parts."""
    real, parts = loop.answer_all, []

    def answer_all(params, some, *arguments, **named):
        found = real(params, some, *arguments, **named)
        parts.append([problem.id for problem in some])
        correct = np.array([[k < RIGHT[int(p.id[2:])] for k in range(found.length.shape[1])] for p in some])
        return found._replace(correct=correct, gradable=np.ones_like(correct))

    monkeypatch.setattr(loop, "answer_all", answer_all)
    monkeypatch.setattr(difficulty, "most_slots", lambda parts: 2)  # two problems of four samples a part
    return parts


def split(checkpoint, data, output, *arguments):
    command = ["data", "split", str(checkpoint), "--data", str(data), "--samples", "4", "--output", str(output)]
    return main([*command, *SETTINGS, *arguments])


@pytest.mark.slow
def test_easy_and_hard_problems_as_training_reads_them(checkpoint, data, graded, tmp_path, capsys):
    assert split(checkpoint, data, tmp_path / "out") == 0
    before = {problem.id: problem for problem in problems.read_jsonl(data)}
    easy, hard, every = (problems.read_jsonl(tmp_path / "out" / f"{name}.jsonl") for name in ("easy", "hard", "rated"))
    assert [p.id for p in easy] == ["id1", "id3", "id4"]
    assert [p.id for p in hard] == ["id0", "id2"]
    assert [p.meta["pass_rate"] for p in every] == [n / 4 for n in RIGHT]
    for problem in every:
        old = before[problem.id]
        assert (problem.question, problem.answer, problem.source) == (old.question, old.answer, old.source)
        assert problem.meta["level"] == old.meta["level"], "what the problem brought stays"
        assert 1 <= problem.meta["mean_tokens"] <= 8
        assert 0 <= problem.meta["cut_share"] <= 1
    found = json.loads((tmp_path / "out" / "split.json").read_text())
    assert (found["all"]["never_right"], found["all"]["always_right"], found["samples"]) == (1, 2, 4)
    assert found["easy"]["pass_rate"] == pytest.approx((1 + 0.75 + 1) / 3)
    told = capsys.readouterr().out
    assert "easy (above 0.5)" in told
    assert "never right" in told
    # Other thresholds cost no sample.
    asked = len(graded)
    assert split(checkpoint, data, tmp_path / "out", "--easy-above=0.8", "--hard-at-most=0") == 0
    assert len(graded) == asked
    assert [p.id for p in problems.read_jsonl(tmp_path / "out" / "easy.jsonl")] == ["id1", "id4"]
    assert "between" in capsys.readouterr().out
    # A file of an earlier threshold does not stay behind for training to read.
    assert split(checkpoint, data, tmp_path / "one", "--limit=1", "--easy-above=0", "--hard-at-most=0") == 0
    assert not (tmp_path / "one" / "easy.jsonl").exists()
    assert "no problem is easy" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stopped_split_goes_on_and_ends_as_an_undisturbed_one(
    checkpoint, data, graded, tmp_path, monkeypatch, capsys
):
    """Killed with half a line written, stopped by a signal in the second part; draws must not depend on the parts."""
    patched = loop.answer_all

    def stopped(*arguments, **named):
        if len(graded) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return patched(*arguments, **named)

    monkeypatch.setattr(loop, "answer_all", stopped)
    assert split(checkpoint, data, tmp_path / "out") == 128 + signal.SIGTERM
    assert "after 2 of 5 problems and saved; the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(loop, "answer_all", patched)
    answers = tmp_path / "out" / "answers.jsonl"
    with answers.open("a") as file:
        file.write('{"id": "id2", "corr')
    assert split(checkpoint, data, tmp_path / "out") == 0
    assert "going on after 2 of 5 problems" in capsys.readouterr().out
    assert graded == [["id0", "id1"], ["id2", "id3"], ["id4"]], "nothing is asked twice"
    monkeypatch.setattr(difficulty, "most_slots", lambda parts: 100)
    assert split(checkpoint, data, tmp_path / "whole") == 0
    for name in ("answers.jsonl", "rated.jsonl", "easy.jsonl", "hard.jsonl", "split.json"):
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "whole" / name).read_text(), name
    # Other draws, other problems, another model: never mixed.
    before = answers.read_bytes()
    for other in ("--seed=1", "--limit=4", "--evaluation.temperature=0.5", "--samples=5", "--reward.require_eos=false"):
        assert split(checkpoint, data, tmp_path / "out", other) == 2, other
        assert "answers.jsonl: expected answers of this policy, these settings" in capsys.readouterr().err
    write_checkpoint(tmp_path / "other", "qwen3_base")
    assert split(tmp_path / "other", data, tmp_path / "out") == 2
    assert "answers.jsonl: expected answers of this policy" in capsys.readouterr().err
    assert answers.read_bytes() == before


@pytest.mark.slow
def test_devices_without_a_problem_of_their_own_change_nothing(checkpoint, data, graded, tmp_path):
    """Five problems on eight devices: three rows stay empty. Catches a row that is filled with somebody else's answer,
    and a progress bar that counts the empty ones."""
    assert split(checkpoint, data, tmp_path / "one") == 0
    assert split(checkpoint, data, tmp_path / "eight", "--mesh.fsdp=8") == 0
    outcomes = []
    for name in ("one", "eight"):
        lines = (tmp_path / name / "answers.jsonl").read_text().splitlines()
        outcomes.append([json.loads(line) for line in lines[1:]])
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
def test_a_grader_that_breaks_ends_the_split_and_keeps_the_answers(
    checkpoint, data, graded, tmp_path, monkeypatch, capsys
):
    patched = loop.answer_all

    def broken(*arguments, **named):
        found = patched(*arguments, **named)
        return found._replace(gradable=np.zeros_like(found.correct))

    monkeypatch.setattr(loop, "answer_all", broken)
    assert split(checkpoint, data, tmp_path / "out") == 2
    assert "100% of the answers could not be graded" in capsys.readouterr().err
    assert split(checkpoint, data, tmp_path / "out", "--grading.max_failure_rate=1") == 0
    assert "5 not gradable" in capsys.readouterr().out
    assert not (tmp_path / "out" / "hard.jsonl").exists(), "nobody knows that they are hard"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["MODEL"], "data split: expected either MODEL --data FILE or FILE --test-size N"),
        (["MODEL", "--data", "x.jsonl", "--test-size", "3"], "data split: expected either"),
        (["FILE", "--test-size", "3", "--samples", "4"], "--samples: expected with MODEL --data FILE only"),
        (["FILE", "--test-size", "3", "--evaluation.top_p=1"], "--evaluation.top_p=1: expected with MODEL --data"),
        (["MODEL", "--data", "FILE", "--samples", "0"], "--samples: expected at least 1, got 0"),
        (["MODEL", "--data", "FILE", "--evaluation.num_samples=3"], "expected --samples N"),
        (["MODEL", "--data", "FILE", "--easy-above", "0.3"], "expected 0 <= --hard-at-most <= --easy-above < 1"),
        (["MODEL", "--data", "FILE", "--output", "FILE"], "--output: expected a folder"),
        (["MODEL", "--data", "nowhere.jsonl"], "nowhere.jsonl: expected a JSONL file of problems"),
        (["MODEL", "--data", "FILE", "--sample=3"], "--sample: no such argument; did you mean --samples"),
    ],
)
def test_mistakes(checkpoint, data, arguments, says, capsys):
    named = {"MODEL": str(checkpoint), "FILE": str(data)}
    assert main(["data", "split", *(named.get(one, one) for one in arguments)]) == 2
    assert says in capsys.readouterr().err
