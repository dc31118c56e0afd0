"""What users get wrong: one line that says how to mend it, an exit code that is not 0, and nothing lost."""

import dataclasses
import itertools
import json
import shutil

import jax
import numpy as np
import pytest

from jaxreason.data import problems
from jaxreason.data.problems import Problem
from jaxreason.evaluation import stored
from jaxreason.grpo import learner
from tests import runs


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


def _one_line(capsys) -> str:
    said = capsys.readouterr().err
    assert said.startswith("jaxreason: error: ")
    assert said.count("\n") == 1, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--sampling.num_generation=4", "did you mean sampling.num_generations?"),
        ("--reward.alpah=1", "reward.alpah: no such configuration key; did you mean reward.alpha?"),
        ("--resum", "--resum: no such argument; did you mean --resume?"),
        ("--sampling.num_generations=1", "sampling.num_generations: expected at least 2"),
        ("--grpo.epsilon=2", "grpo.epsilon: expected in [0, 1), got 2.0"),
        (
            ["--reward.preset=oracle", "--data.train=mine.jsonl"],
            "reward.preset: oracle reads a task's labels, expected data.task to have some, as calculator has",
        ),
        ("--reward.preset=scam", "reward.preset: expected one of scma, guarded"),
        ("--data.prompts_per_step=100000", "data.prompts_per_step: expected 1..64, the problems there are"),
        ("--data.test_size=100000", "data.test_size: expected at most"),
        ("--data.test_size=0", "data.test_size: expected at least 1"),
        ("--data.max_prompt_length=3", "data.max_prompt_length: all 64 training prompts are longer than 3 tokens"),
        ("--data.train=nowhere.jsonl", "nowhere.jsonl: expected a JSONL file of problems, got No such file"),
        ("--tokenizer.path=nowhere", "nowhere: expected a folder with tokenizer.json or tokenizer.model"),
        ("--model.vocab_size=64", "model.vocab_size: expected at least"),
        ("--grpo.row_length=40", "grpo.row_length"),
        ("--run.seed=-1", "run.seed"),
        ("--agents.boundaries=lines", "agents.boundaries: expected one of auto, natural, any"),
        (["--warmup.chains=8", "--agents.helper_policy=separate"], "expected 0 with agents.helper_policy=separate"),
    ],
)
def test_a_bad_setting(warm, tmp_path, capsys, argument, message):
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, *([argument] if isinstance(argument, str) else argument)) == 2
    assert message in _one_line(capsys)


def test_no_configuration_file(capsys):
    assert runs.main(["train", "configs/quikstart.yaml"]) == 2
    assert "configs/quikstart.yaml: no such configuration file" in _one_line(capsys)


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert runs.train(tmp_path / "file" / "run") == 2
    assert "run.output_dir: cannot write to" in _one_line(capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected at least one problem, got an empty file"),
        ('{"id": "a", "question": "1;+1;", "answer": "2"}\n{"id": "b", "answer": "2"}\n', ":2: field question: "),
        ('{"id": "a", "question": "1;+1;", "answer": 2}\n', ":1: field answer: expected a string, got 2"),
        ('\n\n{"id": "a",\n', ":3: expected a JSON object"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_bad_file_of_problems_is_named_with_its_line(warm, tmp_path, capsys, split, content, message):
    file = tmp_path / "mine.jsonl"
    file.write_text(content)
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, f"--data.{split}={file}") == 2
    said = _one_line(capsys)
    assert str(file) in said
    assert message in said


def test_another_configuration_or_a_finished_run_leaves_the_run_as_it_was(warm, tmp_path, capsys):
    """Both used to be ways of overwriting a week's training."""
    folder = runs.begin(warm, tmp_path / "run")
    assert runs.train(folder, "--run.max_steps=1", "--reward.preset=grpo") == 0
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert runs.train(folder, "--run.max_steps=1", "--reward.preset=grpo", "--reward.alpha=0.9", "--resume") == 2
    assert "reward.alpha (0.2 -> 0.9)" in _one_line(capsys)
    assert runs.train(folder, "--run.max_steps=1", "--reward.preset=grpo") == 0
    assert "finished before" in capsys.readouterr().out
    (folder / "report.html").write_bytes(before[folder / "report.html"])  # drawn again, from the same files
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_prompts_above_the_limit_are_dropped_counted_and_told(warm, tmp_path, capsys):
    """Cutting them would change the question; keeping quiet would change the data set."""
    asked = [Problem(str(i), f"{i};+1;*2;", str((i + 1) * 2 % 7)) for i in range(6)]
    problems.write_jsonl([*asked, Problem("long", "1;" + "+1;" * 20, "0")], tmp_path / "mine.jsonl")
    folder = runs.begin(warm, tmp_path / "run")
    shutil.rmtree(folder / "evaluation")  # of other problems
    arguments = [f"--data.{part}={tmp_path / 'mine.jsonl'}" for part in ("train", "test")]
    arguments += ["--reward.preset=grpo", "--run.max_steps=1"]
    assert runs.train(folder, *arguments) == 0
    assert "warning: dropped 1 of 7 training problems: prompts above 12 tokens" in capsys.readouterr().out
    assert json.loads((folder / "results.json").read_text())["dropped_problems"] == 1


@pytest.mark.parametrize("num_mini_batches", [1, 2])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_what_was_good(
    warm, tmp_path, capsys, monkeypatch, num_mini_batches
):
    """The checkpoint of the step before is whole, holds numbers and can be evaluated; the batch is there to look at."""
    folder = runs.begin(warm, tmp_path / "run")
    pack, calls = learner.pack_updates, itertools.count(1)

    def poisoned(*arguments, **named):
        batches = pack(*arguments, **named)
        if next(calls) == 3:
            batches[-1] = dataclasses.replace(batches[-1], advantage=batches[-1].advantage * np.float32("nan"))
        return batches

    monkeypatch.setattr(learner, "pack_updates", poisoned)
    settings = ["--run.save_steps=0", f"--grpo.num_mini_batches={num_mini_batches}", "--grpo.beta=[0.01, 0.01, 0.01]"]
    assert runs.train(folder, *settings) == 1
    said = _one_line(capsys)
    assert "step 3: the loss is not a number" in said
    assert "optimizer.learning_rate" in said
    assert [row["step"] for row in runs.rows(folder)] == [1, 2]
    (batch,) = folder.glob("bad_batch_step_*.npz")
    with np.load(batch) as arrays:
        assert any(np.isnan(array).any() for array in arrays.values())
    config = stored.load_config(folder)
    config = stored.setup.with_vocabulary(config, stored.tokenizer.load(folder / "tokenizer"))
    params, step = stored.load_policy(folder, config)
    assert step == 2
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
    assert not (folder / "results.json").exists()
