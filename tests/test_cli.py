"""The commands apart from training: quick help, evaluation of a stored policy, problems on disk, exit codes."""

import collections
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason import cli, config
from jaxreason.data import problems
from jaxreason.data.problems import Problem
from jaxreason.data.split import split
from jaxreason.rewards.methods import METHODS
from jaxreason.run import setup
from jaxreason.run.interrupt import Stopped
from tests import runs


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["report", "--help"], ["data", "--help"]]
)
def test_help_starts_no_slow_library(arguments):
    """Help that takes seconds is not read."""
    code = (
        "import sys; from jaxreason.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or any(name in sys.modules for name in ('jax', 'flax', 'transformers', 'grain')))"
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


def test_the_methods_are_listed_with_their_own_fields(capsys):
    assert cli.main(["methods"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in METHODS)
    (kimi,) = [line for line in out.splitlines() if line.startswith("kimi")]
    assert "weight=0.4" in kimi


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
        (
            ["--reward.alpha=1"],
            "expected overrides of evaluation.* (its token limit is --evaluation.max_completion_length), grading.*,",
        ),
        (["--output", "x.jsonl"], "--output: expected a .json file (the answers go to the .jsonl beside it)"),
        (["--output", "."], "--output: expected a .json file"),
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


def test_a_prepared_folder_is_what_a_run_reads(warm, tmp_path):
    """The command once made a folder that nothing could read."""
    asked = [Problem(str(i), f"{i % 7};A+{i // 7};", "1") for i in range(20)]
    problems.write_jsonl(asked, tmp_path / "mine.jsonl")
    assert cli.main(["data", "prepare", str(tmp_path / "mine.jsonl"), "--to", str(tmp_path / "mine")]) == 0
    settings = [f"--data.{side}={tmp_path / 'mine'}" for side in ("train", "test")]
    settings += [f"--tokenizer.path={warm / 'tokenizer'}", "--data.test_size=5"]
    exp = setup.prepare(config.load(runs.TINY, settings), tmp_path / "run")
    assert exp.stream.num_problems == 20
    assert exp.test == asked[:5]


def test_answers_that_cannot_be_graded_are_named_by_their_lines(tmp_path, capsys):
    file = tmp_path / "mine.jsonl"
    problems.write_jsonl([Problem("a", "q", "4"), Problem("b", "r", "\\frac{1"), Problem("c", "s", "7")], file)
    file.write_text("\n" + file.read_text())
    assert cli.main(["data", "prepare", str(file), "--to", str(tmp_path / "mine")]) == 0
    told = capsys.readouterr().out
    assert f"warning: 1 of 3 answers of {file} cannot be graded" in told
    assert "line 3 (b): its form" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FILE", "--levels", "1"], "--levels: expected with --builtin only"),
        (["FILE", "--seed", "0"], "--seed: expected with --builtin only"),
        (["FILE", "--split", "test"], "--split: expected with --builtin only"),
        (["FILE", "--builtin", "3"], "expected either a FILE or --builtin N"),
        (["--builtin", "0"], "--builtin: expected at least 1, got 0"),
        (["--builtin", "3", "--seed", "-1"], "--seed: expected at least 0, got -1"),
        (["--builtin", "3", "--levels", "4"], "--levels: expected some of 1, 2, 3, each once, got (4,)"),
        (["--builtin", "3", "--levels", "1", "1"], "--levels: expected some of 1, 2, 3, each once, got (1, 1)"),
        (["--builtin", "9999", "--levels", "1", "--split", "test"], "--builtin: expected at most"),
    ],
)
def test_what_can_not_be_prepared_is_said_with_the_flag_typed(tmp_path, capsys, arguments, message):
    file = tmp_path / "mine.jsonl"
    problems.write_jsonl([Problem("a", "q", "4")], file)
    arguments = [str(file) if word == "FILE" else word for word in arguments]
    assert cli.main(["data", "prepare", *arguments, "--to", str(tmp_path / "made")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "data.levels" not in said
    assert said.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_a_setting_put_right_goes_on_in_the_same_folder(warm, tmp_path, capsys):
    """The tokenizer of the launch that failed was made under other settings and must not stay."""
    folder = tmp_path / "run"
    assert runs.train(folder, "--data.max_prompt_length=3", "--tokenizer.vocab_size=330") == 2
    tokenizer = folder / "tokenizer" / "tokenizer.model"
    assert tokenizer.read_bytes() != (warm / "tokenizer" / "tokenizer.model").read_bytes()
    assert runs.train(folder, "--warmup.max_steps=0", "--warmup.drill_steps=0", "--run.max_steps=0") == 0
    assert tokenizer.read_bytes() == (warm / "tokenizer" / "tokenizer.model").read_bytes()
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert f"report:      {folder / 'report.html'}" in capsys.readouterr().out


def test_a_report_that_fails_is_a_warning(tmp_path):
    told = []
    assert cli.runs._report_of(tmp_path, told.append) is None
    (line,) = told
    assert line.startswith("no report was written: ")


def test_a_second_ctrl_c_in_training_says_how_to_go_on(monkeypatch, capsys):
    def fail(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.runs, "_train_and_show", fail)
    assert cli.main(["train", runs.TINY]) == 130
    assert (
        capsys.readouterr().err
        == "jaxreason: stopped; what was saved before stays, the same command goes on from there\n"
    )


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
        (KeyboardInterrupt(), 130, "jaxreason: stopped; give the same command again to start over"),
        (FloatingPointError("nan\nnan"), 1, "jaxreason: error: nan nan"),
        (
            OSError(28, "No space left on device", "x.json"),
            1,
            "jaxreason: error: x.json: No space left on device; free some space and give the command again",
        ),
        (
            OSError(5, "Input/output error"),
            1,
            "jaxreason: error: Input/output error; check this place and give the command again",
        ),
        (KeyError("k"), 1, "jaxreason: error: unexpected KeyError: 'k'; --debug shows where"),
        (ValueError("a library's"), 1, "jaxreason: error: unexpected ValueError: a library's; --debug shows where"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_every_end_has_its_exit_code_and_its_line(monkeypatch, capsys, error, code, line):
    """A script that looks at the exit code must not take a failure for success, nor a bug for a typing mistake."""

    def fail(args):
        raise error

    monkeypatch.setattr(cli.runs, "report", fail)
    assert cli.main(["report", "x"]) == code
    assert capsys.readouterr().err == f"{line}\n"
    assert cli.main(["report", "x", "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err
