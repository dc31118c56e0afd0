"""What a reward function is given of a step, as conversations or as plain text, and where its numbers go."""

import dataclasses
import sys
import types

import numpy as np
import pytest

from jaxreason.agents import prompts
from jaxreason.agents.episode import Clock, Episode
from jaxreason.agents.outcome import outcome
from jaxreason.config import AgentsConfig, Config, RewardConfig
from jaxreason.data import problems
from jaxreason.data.problems import Problem
from jaxreason.grading.pool import Grades
from jaxreason.rewards import functions
from jaxreason.run import reward_functions
from jaxreason.tasks.opening import open_task
from jaxreason.types import HostRollout
from tests.agents.stand_in import StandIn

ASKED = [
    Problem("a", "2+2?", "4", "mine", {"kind": "sum", "level": 1}),
    Problem("b", "3*3?", "9", "mine", {"kind": "product", "id": "hidden by the problem's own"}),
]
MATHS = open_task("boxed_math")
ANSWERS = ["<think>2+2</think>4", "4", "<think>3*3=9</think>9", "café 9"]
"""Two of each problem; the last is cut at the limit."""
CONVERSATIONAL = '''
def thinks_of(prompts, completions, answer, kind, log_extra, **kwargs):
    """Written for TRL's conversational format."""
    asked = [prompt[-1]["content"] for prompt in prompts]
    assert all(message["role"] == "user" for prompt in prompts for message in prompt)
    said = [completion[0]["content"] for completion in completions]
    log_extra("asked", [text.split("\\n")[0] for text in asked])
    return [
        None if k == "none" else float(text.startswith("<think>")) + 0.5 * text.endswith(right)
        for text, right, k in zip(said, answer, kind)
    ]
'''


@pytest.fixture
def tokenizer():
    return StandIn()


@pytest.fixture
def played(tokenizer):
    rows = [tokenizer.encode_bytes(text.encode()) for text in ANSWERS]
    T = max(map(len, rows))
    finished = np.array([True, True, True, False])
    rows = [row + [tokenizer.eos_id] * int(ended) for row, ended in zip(rows, finished, strict=True)]
    tokens = np.array([row + [tokenizer.pad_id] * (T + 1 - len(row)) for row in rows], np.int32)
    rollout = HostRollout(
        tokens=tokens.reshape(2, 2, T + 1),
        length=np.array([len(row) for row in rows], np.int32).reshape(2, 2),
        logp=np.zeros((2, 2, T + 1), np.float32),
        finished=finished.reshape(2, 2),
    )
    none: dict = {}
    right = np.ones(4, bool)
    reasoning = types.SimpleNamespace(ids=[1])
    return Episode(ASKED, none, {"reason": rollout}, [reasoning] * 4, Grades(right, right, ["ok"] * 4))  # pyright: ignore


def test_columns_are_the_problems_fields_and_every_key_of_meta():
    """Catches a key that only some problems have, and a key of meta in place of the problem's own field."""
    assert problems.columns(ASKED) == ("id", "question", "answer", "source", "kind", "level")
    assert [problems.column(problem, "level") for problem in ASKED] == [1, None]
    assert [problems.column(problem, "id") for problem in ASKED] == ["a", "b"]


def test_a_chat_model_s_step_is_conversations(played, tokenizer):
    batch = reward_functions.batch_of(played, MATHS, AgentsConfig(prompts="chat"), tokenizer, problems.columns(ASKED))
    assert batch.prompts[0] == batch.prompts[1] == MATHS.messages(ASKED[0])
    assert batch.prompts[2] == batch.prompts[3] == MATHS.messages(ASKED[1])
    assert batch.completions == [[{"role": "assistant", "content": text}] for text in ANSWERS]
    assert batch.columns["kind"] == ["sum", "sum", "product", "product"]
    assert batch.columns["id"] == ["a", "a", "b", "b"]


@pytest.mark.parametrize("form", ["marks", "plain"])
def test_another_model_s_step_is_plain_text(played, tokenizer, form):
    config = AgentsConfig(prompts=form)
    batch = reward_functions.batch_of(played, MATHS, config, tokenizer, ("id",))
    asked = prompts.render_reason(ASKED, MATHS, config, tokenizer)
    assert batch.prompts == [asked[0], asked[0], asked[1], asked[1]]
    assert batch.completions == ANSWERS


def test_ids_have_the_end_token_and_no_padding(played, tokenizer):
    """As TRL's; texts have neither."""
    batch = reward_functions.batch_of(played, MATHS, AgentsConfig(), tokenizer, ())
    for n, (ids, text) in enumerate(zip(batch.completion_ids, ANSWERS, strict=True)):
        assert ids == tokenizer.encode_bytes(text.encode()) + [tokenizer.eos_id] * (n < 3)
        assert all(type(token) is int for token in ids)


def test_a_function_written_for_trl_runs_unchanged_and_its_numbers_go_to_their_rows(
    played, tokenizer, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "trl_reward.py").write_text(CONVERSATIONAL)
    reward = RewardConfig(reward_funcs=("trl_reward.py:thinks_of",), reward_weights=(3.0,))
    config = dataclasses.replace(Config(), reward=reward, agents=AgentsConfig(prompts="chat"))
    columns = problems.columns(ASKED)
    exp = types.SimpleNamespace(
        config=config,
        task=MATHS,
        tokenizer=tokenizer,
        columns=columns,
        stream=types.SimpleNamespace(num_problems=8),
    )
    programs = types.SimpleNamespace(exp=exp, reward_functions=functions.load(reward, columns))
    clock = Clock()
    given = reward_functions.of_step(played, 1, 2, programs, clock)  # pyright: ignore[reportArgumentType]
    assert set(clock.seconds) == {"reward_functions"}
    assert given.metrics["rewards/thinks_of/mean"] == pytest.approx((1.5 + 0.5 + 1.5 + 0.5) / 4)
    seen = given.added_to(outcome(played))
    np.testing.assert_allclose(seen.functions, [[4.5, 1.5], [4.5, 1.5]])
    assert np.asarray(seen.functions_apply).all()
    rows = given.noted([{}, {}, {}])  # those of the first problems are kept
    assert [row["reward_funcs"] for row in rows] == [{"thinks_of": value} for value in (1.5, 0.5, 1.5)]
    assert [row["extra"] for row in rows] == [{"asked": "2+2?"}, {"asked": "2+2?"}, {"asked": "3*3?"}]


def test_without_functions_nothing_is_added(played):
    programs = types.SimpleNamespace(exp=None, reward_functions=())
    given = reward_functions.of_step(played, 0, 0, programs, Clock())  # pyright: ignore[reportArgumentType]
    seen = outcome(played)
    assert given.added_to(seen) is seen
    assert seen.functions is None
    assert given.metrics == {}
    assert given.noted([{}]) == [{}]
