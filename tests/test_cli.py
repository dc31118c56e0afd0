"""The commands apart from training: quick help, evaluation of a stored policy, problems on disk, exit codes."""

import collections
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason import cli
from jaxreason.data import problems
from jaxreason.data.problems import Problem
from jaxreason.data.split import split
from jaxreason.interrupt import Stopped
from tests import runs


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["report", "--help"], ["data", "--help"]]
)
def test_help_starts_neither_jax_nor_a_plotting_library(arguments):
    """Help that takes seconds is not read."""
    code = (
        "import sys; from jaxreason.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or any(name in sys.modules for name in ('jax', 'flax', 'transformers', 'matplotlib')))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: jaxreason" in done.stdout


def test_every_setting_has_one_line_in_the_help(capsys):
    assert cli.main(["train", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (epsilon,) = [line for line in lines if line.strip().startswith("--grpo.epsilon=")]
    assert epsilon.split() == ["--grpo.epsilon=0.2", *"how far the ratio may fall below 1".split()]
    (preset,) = [line for line in lines if line.strip().startswith("--reward.preset=")]
    assert "guarded" in preset
    assert "scma" in preset


def test_the_version_is_the_package_s(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == "jaxreason 0.1.0\n"


def test_an_override_may_stand_in_two_words_and_before_the_file(tmp_path, capsys):
    """argparse would take the value for the file, and the file for an unknown argument."""
    bad = ["train", "--run.output_dir", str(tmp_path), "--grpo.epsilon", "-1", runs.TINY]
    assert cli.main(bad) == 2
    assert "grpo.epsilon: expected in [0, 1), got -1.0" in capsys.readouterr().err


def test_a_stored_policy_answers_as_it_did_in_training(warm, tmp_path, capsys):
    """Same problems, same draws: another policy, tokenizer or key would give other lengths."""
    output = tmp_path / "again.json"
    assert cli.main(["evaluate", str(warm), runs.NO_CACHE, "--output", str(output)]) == 0
    again, first = json.loads(output.read_text()), json.loads((warm / "evaluation" / "step_000000.json").read_text())
    assert again["table"] == first["table"]
    assert again["answers"] == first["answers"]
    assert again["step"] == 0
    assert len(output.with_suffix(".jsonl").read_text().splitlines()) == 32
    screen = capsys.readouterr().out
    assert "greedy all" in screen
    assert str(output) in screen


def test_a_stored_policy_answers_other_problems(warm, tmp_path, capsys):
    file = tmp_path / "mine.jsonl"
    problems.write_jsonl([Problem("a", "3;+1;", "4"), Problem("b", "3;" + "+1;" * 30, "5")], file)
    arguments = ["--data", str(file), "--evaluation.greedy=false", "--evaluation.num_samples=2"]
    output = tmp_path / "mine.json"
    assert cli.main(["evaluate", str(warm), runs.NO_CACHE, *arguments, "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["dropped_problems"] == 1
    assert found["table"]["problems"] == 1
    assert found["table"]["samples"] == 2
    assert "greedy" not in found["table"]
    assert "dropped 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step", "3"], "expected a checkpoint, found none"),
        (["--grpo.epsilon=0.3"], "grpo.epsilon: the run was trained with its own"),
        (["--evaluation.grdy=true"], "did you mean evaluation.greedy?"),
        (["--dta", "x.jsonl"], "--dta: no such argument; did you mean --data?"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: expected a JSONL file of problems"),
    ],
)
def test_what_can_not_be_evaluated_is_said_in_one_line(warm, capsys, arguments, message):
    assert cli.main(["evaluate", str(warm), runs.NO_CACHE, *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_folder_that_is_no_run_is_not_evaluated(tmp_path, capsys):
    assert cli.main(["evaluate", str(tmp_path)]) == 2
    assert "expected the folder of a run" in capsys.readouterr().err


def test_the_built_in_task_can_be_written_split_and_built(tmp_path, capsys):
    """The three data commands in the order in which one uses them; none overwrites what is there."""
    file = tmp_path / "task.jsonl"
    assert cli.main(["data", "prepare", "--builtin", "40", "--levels", "1", "2", "--to", str(file)]) == 0
    assert len(problems.read_jsonl(file)) == 40
    assert cli.main(["data", "prepare", "--builtin", "40", "--to", str(file)]) == 2
    assert cli.main(["data", "split", str(file), "--test-size", "10"]) == 0
    sides = [problems.read_jsonl(tmp_path / f"task-{side}.jsonl") for side in ("train", "test")]
    assert sorted(p.id for side in sides for p in side) == sorted(p.id for p in problems.read_jsonl(file))
    assert cli.main(["data", "split", str(file), "--test-size", "10"]) == 2
    assert cli.main(["data", "prepare", str(tmp_path / "task-train.jsonl"), "--to", str(tmp_path / "built")]) == 0
    screen = capsys.readouterr()
    assert "of arithmetic/level1" in screen.out
    assert screen.err.count("is there already") == 2
    assert cli.main(["data", "prepare", "--to", str(tmp_path / "built")]) == 2
    assert cli.main(["data", "split", str(file), "--test-size", "40"]) == 2


@given(st.lists(st.sampled_from(["a", "A ", "b", "c  d", "C d", "e", "f"]), min_size=2, max_size=30), st.data())
def test_no_question_stands_on_both_sides_of_a_split(questions, data):
    """Also not in another spelling of spaces and capitals: a copy in training would be an answer known by heart."""
    asked = [Problem(str(i), question, "1") for i, question in enumerate(questions)]
    size = data.draw(st.integers(1, len(asked) - 1))
    copies = collections.Counter(" ".join(question.lower().split()) for question in questions)
    if min(copies.values()) > size:
        with pytest.raises(ValueError, match="ask for more"):
            split(asked, size, seed=0)
        return
    train, test = split(asked, size, seed=data.draw(st.integers(0, 3)))
    assert len(test) <= size
    assert sorted(p.id for p in train + test) == sorted(p.id for p in asked)
    sides = [{" ".join(p.question.lower().split()) for p in side} for side in (train, test)]
    assert not sides[0] & sides[1]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Stopped("SIGTERM: stopped", 143), 143, "jaxreason: SIGTERM: stopped"),
        (KeyboardInterrupt(), 130, "jaxreason: stopped; what was saved before stays, go on with --resume"),
        (FloatingPointError("nan\nnan"), 1, "jaxreason: error: nan nan"),
        (OSError(28, "No space left on device", "x.json"), 1, "jaxreason: error: x.json: No space left on device"),
        (KeyError("k"), 1, "jaxreason: error: unexpected KeyError: 'k'; --debug shows where"),
        (ValueError("a library's"), 1, "jaxreason: error: unexpected ValueError: a library's; --debug shows where"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_every_end_has_its_exit_code_and_its_line(monkeypatch, capsys, error, code, line):
    """A script that looks at the exit code must not take a failure for success, nor a bug for a typing mistake."""

    def fail(args):
        raise error

    monkeypatch.setattr(cli, "_report", fail)
    assert cli.main(["report", "x"]) == code
    assert capsys.readouterr().err == f"{line}\n"
    assert cli.main(["report", "x", "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err
