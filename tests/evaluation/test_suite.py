"""Suites of benchmarks: files told from each other before anything is sampled, protocols, tables, going on where it
stopped."""

import json

import pytest

from jaxreason.cli import main
from jaxreason.config import load
from jaxreason.evaluation import ask, suite, suites
from jaxreason.evaluation.suites import BENCHMARKS, SUITES, Protocol
from tests.released import write_checkpoint

pytestmark = pytest.mark.slow

ART = ("amc", "olympiadbench", "aime25")
SHORT = ["--sampling.max_completion_length=12", "--evaluation.num_samples=2", "--run.compilation_cache_dir="]
ONE = ["--mesh.fsdp=1", "--grading.num_workers=0"]


def write_sets(folder, names, count=3):
    """Files with the columns and the marks of the real ones, and questions of our own."""
    folder.mkdir(exist_ok=True)
    for name in names:
        marks = BENCHMARKS[name].marks
        asked = [f"Now {mark} of {i}: what is {i}+1?" for i, mark in enumerate(marks)]
        asked += [f"What is {i}+1?" for i in range(len(marks), count)]
        rows = [{"problem": q, "answer": str(i + 1)} for i, q in enumerate(asked)]
        if name == "gsm8k":
            rows = [{"question": q, "answer": f"#### {i + 1}"} for i, q in enumerate(asked)]
        if name == "olympiadbench":
            rows = [{"id": i, "question": q, "final_answer": [str(i + 1)]} for i, q in enumerate(asked)]
        (folder / f"{BENCHMARKS[name].names[0]}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, "qwen3_instruct")
    return folder


def evaluate(checkpoint, data, output, *arguments, which="art"):
    command = ["evaluate", str(checkpoint), "--suite", which, "--data-dir", str(data), "--output", str(output)]
    return main([*command, *SHORT, *ONE, *arguments])


def test_a_suite_from_end_to_end(checkpoint, tmp_path, capsys):
    data, out = write_sets(tmp_path / "data", ART), tmp_path / "out"
    assert evaluate(checkpoint, data, out, "--limit=2") == 0
    summary = json.loads((out / "suite.json").read_text())
    assert list(summary["sets"]) == list(ART)
    for name, row in summary["sets"].items():
        answers = [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
        assert len(answers) == row["problems"] * row["samples"] == 4, "two problems, two samples, no greedy ones"
        assert row["accuracy"] == sum(a["exact_match"] for a in answers) / 4
        assert row["mean_tokens"] == sum(a["n_tokens"] for a in answers) / 4
        assert row["truncation_rate"] == sum(a["finish_reason"] == "length" for a in answers) / 4
        assert set(row["budgets"].values()) == {None}, "nothing is known of budgets above the limit"
        assert row["departs"] == {"num_samples": 2, "max_completion_length": 12}
        assert row["differs"]["exact_match_string"] == sum(a["exact_match"] != a["exact_match_string"] for a in answers)
    means = summary["mean"]
    assert means["mean_tokens"] == pytest.approx(sum(row["mean_tokens"] for row in summary["sets"].values()) / 3)
    table = (out / "table.md").read_text()
    assert "| AMC | 2 x 2 |" in table
    assert "AMC: 2 problems, published with 83" in table
    assert "departs from its protocol: num_samples=2, max_completion_length=12" in table
    told = capsys.readouterr().out
    assert "OlympiadBench" in told
    assert "overall" in told


def test_what_is_finished_is_not_done_again(checkpoint, tmp_path, monkeypatch, capsys):
    """Stopped in the last set: the same command does that one alone, and ends with what an undisturbed one has."""
    data = write_sets(tmp_path / "data", ART)
    measure, titles = ask.measure, []

    def stopped(params, asking, pool, display, title):
        titles.append(title)
        if title == "AIME25" and titles.count(title) == 1:
            raise KeyboardInterrupt
        return measure(params, asking, pool, display, title)

    monkeypatch.setattr(ask, "measure", stopped)
    assert evaluate(checkpoint, data, tmp_path / "out") == 130
    assert "the sets that were finished stay" in capsys.readouterr().err
    assert evaluate(checkpoint, data, tmp_path / "out") == 0
    assert titles == ["AMC", "OlympiadBench", "AIME25", "AIME25"]
    assert evaluate(checkpoint, data, tmp_path / "whole") == 0
    left, right = (json.loads((tmp_path / name / "suite.json").read_text()) for name in ("out", "whole"))
    assert left == right
    # Another protocol does not pass for this one, and takes nothing away.
    before = (tmp_path / "out" / "amc.json").read_bytes()
    assert evaluate(checkpoint, data, tmp_path / "out", "--evaluation.temperature=1") == 2
    assert "amc.json: expected results of this policy, these settings" in capsys.readouterr().err
    assert (tmp_path / "out" / "amc.json").read_bytes() == before


def test_bad_files_are_named_one_a_line_before_anything_is_sampled(checkpoint, tmp_path, monkeypatch, capsys):
    data = write_sets(tmp_path / "data", ("gsm8k", "math500", "aime24"))
    (data / "aime24.jsonl").rename(data / "aime25.jsonl")
    (data / "math500.jsonl").write_text('{"problem": 5}\n')
    monkeypatch.setattr(ask, "measure", None)
    assert evaluate(checkpoint, data, tmp_path / "out", which="scma") == 2
    told = capsys.readouterr()
    lines = (told.out + told.err).splitlines()
    assert len(lines) == 4
    assert "math500.jsonl" in lines[0]
    assert "expected a file of AIME24, such as aime24.jsonl, got none" in lines[1]
    assert "aime25.jsonl: expected AIME25" in lines[2]
    assert "got problems of AIME24" in lines[2]
    assert "expected a file of AMC23" in lines[3]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--suite", "art", "--data", "x.jsonl"], "--data: expected without --suite"),
        (["--data-dir", "x"], "--data-dir: expected with --suite only"),
        (
            ["--suite", "art", "--data-dir", "nowhere"],
            "--data-dir: expected a folder with benchmark files, got nowhere",
        ),
        (["--suite", "art", "--limit", "0"], "--limit: expected at least 1 problem, got 0"),
        (["--suite", "mine"], "--suite: invalid choice: 'mine'"),
    ],
)
def test_mistakes(checkpoint, arguments, says, capsys):
    assert main(["evaluate", str(checkpoint), *arguments, *ONE]) == 2
    assert says in capsys.readouterr().err


def test_own_files_and_other_names(tmp_path):
    """What `data convert` writes, and names with other letters."""
    marks = BENCHMARKS["aime24"].marks
    rows = [{"id": str(i), "question": f"{mark}?", "answer": "1"} for i, mark in enumerate(marks)]
    (tmp_path / "AIME_2024.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file, problems = suites.read("aime24", tmp_path)
    assert file.name == "AIME_2024.jsonl"
    assert [problem.id for problem in problems] == ["0", "1"]


def test_every_set_of_a_suite_is_a_benchmark():
    for protocols in SUITES.values():
        assert {protocol.benchmark for protocol in protocols} <= set(BENCHMARKS)
    assert [BENCHMARKS[p.benchmark].title for p in SUITES["scma"]] == ["GSM8K", "MATH-500", "AIME24", "AIME25", "AMC23"]
    assert {p.num_samples for p in SUITES["art"]} == {8}, "Mean@8"


def test_departures_are_what_differs():
    """A user's temperature is told of; a limit that the model set too."""
    settings = ["--evaluation.temperature=1", "--evaluation.num_samples=8", "--evaluation.top_p=0.95"]
    asked = load(None, [*settings, "--sampling.max_completion_length=32768"])
    assert suite.departures(Protocol("amc", 8), asked) == {"temperature": 1.0}
