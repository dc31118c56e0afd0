"""A user's file of fifteen lines, a task and a reward: trained, killed, resumed, and on two processes."""

import json
import signal

import numpy as np
import pytest

from tests import runs
from tests.helpers import TOLERANCE

MINE = '''\
from jaxreason.tasks.base import Problem, Span


class Digits:
    """Say the digit that is in the question, and nothing else."""

    def problems(self, split, count, *, seed, levels):
        return [Problem(f"{split}{i}", f"Say {i % 10}.", str(i % 10)) for i in range(count)]

    def messages(self, problem):
        return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": problem.question}]

    def read(self, text):
        return Span(0, max(0, len(text) - 1), text[-1:] or None)

    def grade(self, answer, problem):
        return answer.isdigit() and int(answer) >= int(problem.answer)


def digits(completions, answer, **columns):
    """The share of a completion that is the answer's digit."""
    return [text.count(digit) / max(1, len(text)) for text, digit in zip(completions, answer)]
'''
SETTINGS = (
    "--data.train_size=40",
    "--data.test_size=10",
    "--data.max_prompt_length=40",
    "--warmup.max_steps=0",
    "--warmup.drill_steps=0",
    "--tokenizer.vocab_size=300",
    "--grading.num_workers=1",
    "--reward.preset=grpo",
    "--run.max_steps=3",
    "--run.save_steps=1",
    "--run.keep_best=false",
)


@pytest.fixture
def doors(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return (f"--data.task={tmp_path}/mine.py:Digits", f"--reward.reward_funcs={tmp_path}/mine.py:digits", *SETTINGS)


def _samples(folder) -> list[list[dict]]:
    files = sorted((folder / "samples").iterdir())
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


@pytest.mark.slow
def test_it_is_trained_killed_resumed_and_the_same_on_two_processes(doors, tmp_path):
    """Catches a task or a reward that only the first launch, or only process 0, knows."""
    straight, killed, two = (tmp_path / name for name in ("straight", "killed", "two"))
    assert runs.train(straight, *doors) == 0
    rows = runs.rows(straight)
    assert len(rows) == 3
    assert any(row["rewards/digits/mean"] > 0 for row in rows)
    for sample in _samples(straight)[-1]:
        text, digit = sample["resps"][0][0], sample["doc"]["answer"]
        assert sample["reward_funcs"]["digits"] == pytest.approx(text.count(digit) / max(1, len(text)))

    process = runs.process(killed, *doors, module=("tests.killed", "update", "1", "0.5"))
    ((code, _, said),) = runs.end(process)
    assert code == -signal.SIGKILL, said
    assert 0 < len(runs.rows(killed)) < 3
    assert runs.train(killed, *doors) == 0
    assert runs.rows(killed) == rows
    assert _samples(killed) == _samples(straight)
    fields = [door["field"] for door in json.loads((killed / "doors.json").read_text())["doors"]]
    assert sorted(fields) == ["data.task", "reward.reward_funcs"]

    ended = runs.end(
        *(runs.process(two, *doors, "--mesh.fsdp=2", *flags, JAX_NUM_CPU_DEVICES="1") for flags in runs.flags_of_two())
    )
    for code, _, said in ended:
        assert code == 0, said
    for row, expected in zip(runs.rows(two), rows, strict=True):
        assert row.keys() == expected.keys()
        for name in ("rewards/digits/mean", "rewards/digits/std", "reason/reward", "grad_norm"):
            np.testing.assert_allclose(row[name], expected[name], rtol=TOLERANCE["mesh"], atol=1e-7, err_msg=name)
