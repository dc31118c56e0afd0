"""Runs with a user's own reward function: learnt from, stopped, broken, mended, changed, on one process and on two."""

import json
import sys
import textwrap

import numpy as np
import pytest

from jaxreason.config import doors
from tests import runs
from tests.helpers import TOLERANCE

pytestmark = pytest.mark.slow

BRIEF = """
    from statistics import mean

    SCALE = 48


    def brief(prompts, completions, completion_ids, question, trainer_state, log_metric, log_extra, **columns):
        '''The shorter the better; the first completion of every problem is left out.'''
        assert all(q in prompt for q, prompt in zip(question, prompts, strict=True))
        log_metric("mean_ids", mean(map(len, completion_ids)))
        log_extra("step", [trainer_state.global_step] * len(completions))
        first = [n == 0 or columns["id"][n] != columns["id"][n - 1] for n in range(len(completions))]
        return [None if skipped else -len(ids) / SCALE for ids, skipped in zip(completion_ids, first, strict=True)]
"""


def _doing_first(statement: str) -> str:
    """The function with one statement more."""
    first = "        log_metric("
    return BRIEF.replace(first, f"        {statement}\n{first}")


CHEAP = ("--reward.preset=grpo", "--run.keep_best=false")


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    return runs.warm(tmp_path_factory)


@pytest.fixture
def folder(warm, tmp_path):
    """A run folder that starts with the warm policy, beside which `mine.py` is written."""
    return runs.begin(warm, tmp_path / "run")


def _write(folder, text: str):
    (folder.parent / "mine.py").write_text(textwrap.dedent(text))


@pytest.fixture
def told(capsys, monkeypatch):
    """Trains a run with the function of its `mine.py`, as a process of its own would; exit code, errors, output."""

    def told(folder, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(doors, "_loaded", {})
        monkeypatch.setattr(sys, "path", list(sys.path))
        capsys.readouterr()
        code = runs.train(folder, f"--reward.reward_funcs={folder.parent}/mine.py:brief", *CHEAP, *arguments)
        screen = capsys.readouterr()
        return code, screen.err, screen.out

    return told


@pytest.fixture
def train(told):
    """The same of a run that ends well."""

    def train(folder, *arguments: str) -> None:
        code, errors, _ = told(folder, *arguments)
        assert code == 0, errors

    return train


def _samples(folder, step: int) -> list[dict]:
    return [json.loads(line) for line in (folder / f"samples/step_{step:06d}.jsonl").read_text().splitlines()]


def test_a_run_learns_from_a_users_function_and_goes_on_after_a_stop(folder, warm, tmp_path, train):
    """The same numbers as a run that was never stopped; what the function gave stands in metrics and samples, and is
    the reward. Catches values that reach another row, and a None that counts as 0."""
    _write(folder, BRIEF)
    arguments = ("--reward.outcome_weight=0", "--reward.reward_weights=2")
    train(folder, "--run.max_steps=1", *arguments)
    train(folder, "--run.max_steps=2", *arguments)
    straight = runs.begin(warm, tmp_path / "straight")
    train(straight, "--run.max_steps=2", *arguments)
    assert runs.rows(folder) == runs.rows(straight)
    rows, samples = runs.rows(folder), _samples(folder, 2)
    given = [row["reward_funcs"]["brief"] for row in samples]
    assert [value is None for value in given] == [row["sample_index"] == 0 for row in samples]
    for row, value in zip(samples, given, strict=True):
        assert value is None or value == pytest.approx(-row["n_tokens"] / 48)
        assert row["rewards"]["reason"] == pytest.approx(2 * (value or 0.0))
        assert row["extra"] == {"step": 1}
    for row in rows:
        assert row["rewards/mean_ids"] == pytest.approx(row["reason/completions/mean_length"])
        assert row["rewards/brief/mean"] < 0
        assert row["rewards/brief/std"] > 0
        assert row["reason/reward"] == pytest.approx(2 * row["rewards/brief/mean"]), "the first of a group is left out"
        assert row["grad_norm"] > 0
    record = json.loads((folder / "doors.json").read_text())
    (entry,) = record["doors"]
    assert (folder / entry["source"]).read_text() == textwrap.dedent(BRIEF)
    assert (entry["field"], entry["name"]) == ("reward.reward_funcs", "brief")


def test_a_function_that_raises_costs_no_step_and_the_same_command_goes_on(folder, warm, tmp_path, told, train):
    """The state after the last whole step is saved although no checkpoint was due; the mended code goes on from it."""
    broken = _doing_first("assert trainer_state.global_step != 2, 'my own words'")
    _write(folder, broken)
    steps = ("--run.max_steps=3", "--run.save_steps=0")
    code, said, _ = told(folder, *steps)
    assert code == 1
    *frames, line = said.strip().splitlines()
    assert line == (
        f"jaxreason: error: reward.reward_funcs: {folder.parent}/mine.py:brief raised AssertionError: my own words; "
        "stopped after step 2 and saved; mend it, and the same command goes on from there"
    )
    assert frames[0] == "Traceback (most recent call last):"
    assert "assert trainer_state.global_step != 2, 'my own words'" in said
    assert "jaxreason/" not in "\n".join(frames), "frames of the program are of no use to whoever wrote the function"
    _write(folder, BRIEF)
    code, said, screen = told(folder, *steps)
    assert code == 0, said
    assert "has changed since this run was begun; going on with it as it is now, since it ended the run" in screen
    straight = runs.begin(warm, tmp_path / "straight")
    train(straight, *steps)
    assert runs.rows(folder) == runs.rows(straight)
    record = json.loads((folder / "doors.json").read_text())
    (before,) = record["before"]
    assert before["until_step"] == 2
    assert (folder / before["doors"][0]["source"]).read_text() == textwrap.dedent(broken)
    assert record["failed"] is None


def test_changed_code_is_refused_until_it_is_accepted(folder, told, train):
    _write(folder, BRIEF)
    train(folder, "--run.max_steps=1")
    _write(folder, BRIEF.replace("48", "50"))
    code, said, _ = told(folder, "--run.max_steps=2")
    assert code == 2
    assert said.startswith(f"jaxreason: error: reward.reward_funcs: {folder.parent}/mine.py:brief has changed since")
    assert "go on with the new code by --run.accept_changed_doors=true" in said
    assert said.count("\n") == 1
    code, said, _ = told(folder, "--run.max_steps=2", "--run.accept_changed_doors=true")
    assert code == 0, said
    assert _samples(folder, 2)[1]["reward_funcs"]["brief"] == pytest.approx(-_samples(folder, 2)[1]["n_tokens"] / 50)
    # From here on it is the run's code, and needs no flag.
    train(folder, "--run.max_steps=2")


def test_a_function_that_does_not_fit_the_data_is_refused_before_anything_long(folder, told):
    _write(folder, "def brief(completions, solution): return [0.0] * len(completions)")
    code, said, _ = told(folder, "--run.max_steps=1")
    assert code == 2
    assert "mine.py:brief needs 'solution', which is neither given nor a column of the data" in said
    assert said.count("\n") == 1
    assert not (folder / "metrics.jsonl").exists()


def test_two_processes_learn_what_one_learns_and_end_alike(folder, warm, tmp_path, train):
    """Process 0 alone calls the function, and its mistake ends both: one that went on would wait for the other."""
    noted = "print(trainer_state.global_step, file=open(__file__ + '.calls', 'a'))"
    _write(folder, _doing_first(f"{noted}; assert trainer_state.global_step < 1"))
    door = f"--reward.reward_funcs={folder.parent}/mine.py:brief"
    ended = runs.end(
        *(
            runs.process(folder, door, *CHEAP, "--run.max_steps=2", "--mesh.fsdp=2", *flags, JAX_NUM_CPU_DEVICES="1")
            for flags in runs.flags_of_two()
        )
    )
    for code, _, said in ended:
        assert code == 1, said
        assert "mine.py:brief raised AssertionError; stopped after step 1 and saved" in said
    assert (folder.parent / "mine.py.calls").read_text().split() == ["0", "1"]
    _write(folder, BRIEF)
    train(folder, "--run.max_steps=2")
    one = runs.begin(warm, tmp_path / "one")
    train(one, "--run.max_steps=2")
    for row, expected in zip(runs.rows(folder), runs.rows(one), strict=True):
        assert row.keys() == expected.keys()
        for name in ("rewards/brief/mean", "rewards/brief/std", "reason/reward", "grad_norm"):
            np.testing.assert_allclose(row[name], expected[name], rtol=TOLERANCE["mesh"], err_msg=name)
    assert _samples(folder, 1) == _samples(one, 1)
