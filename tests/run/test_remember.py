"""From an episode to a reward that knows the moment, and to what is remembered of it; without sampling or training."""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.agents.episode import Episode
from jaxreason.agents.outcome import outcome
from jaxreason.config import Config, GRPOConfig, load
from jaxreason.data.problems import Problem
from jaxreason.grading.pool import Grades
from jaxreason.grpo.signal import signal
from jaxreason.rewards.importance import initial_ratio
from jaxreason.rewards.methods import METHODS
from jaxreason.run import remember, setup, state
from jaxreason.tasks.boxed_math import read
from jaxreason.tasks.reading import find_reasoning
from jaxreason.types import HostRollout
from tests.agents.stand_in import StandIn
from tests.helpers import TOLERANCE

T = 12
ANSWERS = [
    [[b"2", b"+3", b"=5", b"!", b"\n\\boxed{5}"], [b"so", b"\n\\boxed{5}"]],
    [[b"x", b"\n\\boxed{4}"], [b"7", b" or", b" 8", b"\n\\boxed{7}"]],
]
"""Two problems with two completions each, all of which end; the third is wrong."""


def played(answers) -> tuple[Episode, StandIn]:
    tokenizer = StandIn()
    rows = [[tokenizer.intern(piece) for piece in pieces] for group in answers for pieces in group]
    tokens = np.zeros((2, 2, T), np.int32)
    for n, row in enumerate(rows):
        tokens[n // 2, n % 2, : len(row)] = row
    length = np.array([len(row) + 1 for row in rows], np.int32).reshape(2, 2)
    rollout = HostRollout(
        tokens=tokens, length=length, logp=np.zeros((2, 2, T), np.float32), finished=np.ones((2, 2), bool)
    )
    episode = Episode(
        problems=[Problem("a", "?", "5", meta={"target_tokens": 4}), Problem("b", "?", "7", meta={"target_tokens": 9})],
        prompts={},
        rollouts={"reason": rollout},
        reasonings=[find_reasoning(row, tokenizer, read) for row in rows],
        grades=Grades(np.array([True, True, False, True]), np.ones(4, bool), ["ok"] * 4),
    )
    return episode, tokenizer


def rewarded(preset: str, memory=None, number: int = 0, length=None, settings=(), answers=None):
    """Rewards and advantages of step `number` of 4, and the memory after it; of other lengths, if they are given."""
    episode, tokenizer = played(answers or ANSWERS)
    if length is not None:
        longer = dataclasses.replace(episode.rollouts["reason"], length=np.array(length, np.int32))
        episode = dataclasses.replace(episode, rollouts={"reason": longer})
    config = load(
        None,
        [f"--reward.preset={preset}", "--run.max_steps=4", f"--sampling.max_completion_length={T}", *settings],
    )
    exp = SimpleNamespace(config=config, tokenizer=tokenizer)
    seen = remember.added_to(outcome(episode), episode, memory, number, exp)
    method = METHODS[preset]
    rewards, advantages, _ = signal(
        seen, jnp.float32(0), initial_ratio(), jax.random.key(0),
        reward=config.reward, grpo=GRPOConfig(), method=method, max_length=T,
    )  # fmt: skip
    return rewards, advantages, remember.after_step(memory, method, episode, rewards, config)


def total(preset: str, **at) -> list[list[float]]:
    return np.asarray(rewarded(preset, **at)[0].total["reason"]).tolist()


def test_the_history_of_a_problem_pays_from_its_second_step_on():
    """Lengths are 6 and 3, 3 and 5: the shortest right ones 3 and 5. Catches a memory that is written but not read."""
    rewards, _, memory = rewarded("hapo")
    assert rewards.total["reason"].tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert memory == {"method": {"a": 3, "b": 5}}
    expected = [[0.3, 1.0], [0.0, 1.0]]  # 6 of 3 is held at -0.7; a wrong answer gains nothing by 3 of 5
    np.testing.assert_allclose(total("hapo", memory=memory, number=1), expected, atol=TOLERANCE["sum"])


def test_the_table_of_lengths_fills():
    """Catches answers counted in another band: the first problem is easy, the second, half right, a medium one."""
    _, _, memory = rewarded("laser_d_dynamic")
    assert memory["method"]["count"] == [0, 2, 2]
    assert rewarded("laser_de", memory=memory)[2]["method"]["count"] == [0, 3.9, 3.9]


def test_the_target_follows_the_right_answers():
    """Right answers of 6, 3 and 5 tokens: two thirds of them have at most 5; the window then holds the shorter ones."""
    settings = ("--reward.target_quantile=0.66", "--reward.target_window=2")
    rewards, _, memory = rewarded("truncation", settings=settings)
    assert rewards.total["reason"].tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert memory == {"target": {"lengths": [[3, 5, 6]], "target": 5}}
    rewards, _, memory = rewarded("truncation", memory=memory, length=[[2, 4], [1, 3]], settings=settings)
    assert rewards.total["reason"].tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert memory == {"target": {"lengths": [[2, 3, 4]], "target": 4}}


def test_masks_follow_the_target_as_well():
    """The first answer, right and longer than the others, is left out; catches a mask at the fixed target."""
    _, advantages, _ = rewarded("truncation", settings=("--reward.target_quantile=0.66", "--reward.masking=-L&C"))
    assert advantages.keep["reason"].tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize(("number", "within"), [(0, [1, 1]), (1, [1, 1]), (2, [0, 1]), (3, [0, 0])])
def test_the_limit_follows_the_step(number, within):
    """Catches a limit that does not move: 12 tokens, 9 in step 2 of 4, 6 in step 3."""
    assert total("think_prune", number=number, length=[[10, 8], [3, 5]]) == [within, [0, 1]]


def test_what_the_prompt_asked_for():
    """Catches another problem's number: 4 tokens asked of the first, 9 of the second."""
    off = 3e-4 * np.array([[2, 1], [6, 4]])
    np.testing.assert_allclose(total("l1_exact"), np.array([[1, 1], [0, 1]]) - off, atol=TOLERANCE["sum"])


def test_the_thought_is_closed_where_the_answer_stands():
    """y of the first is 4 tokens with the answer in the third; the second never says it, the last says it at once."""
    _, advantages, _ = rewarded("lc_r1")
    token = np.asarray(advantages.token["reason"])
    level = token[..., 0]
    np.testing.assert_allclose(token[0, 0, 4] - level[0, 0], 0.25, atol=TOLERANCE["sum"])
    np.testing.assert_allclose(token[0, 1, 1] - level[0, 1], -1.0, atol=TOLERANCE["sum"])
    np.testing.assert_allclose(token[1, 0, 1] - level[1, 0], 0.0, atol=TOLERANCE["sum"])
    np.testing.assert_allclose(token[1, 1, 3] - level[1, 1], 2 / 3, atol=TOLERANCE["sum"])


REDUNDANT = [
    [[b"so 5.", b" Wait", b" 5", b"\n\\boxed{5}"], [b"so 5.", b"\n\\boxed{5}"]],
    [[b"x", b"\n\\boxed{4}"], [b"7. ", b"Hmm", b" 7. ", b"But", b"\n\\boxed{7}"]],
]
"""The first answer has two tokens that were not needed, the last one three."""


def test_needless_tokens_are_compared_by_position():
    """Both of the first group are right, so only what the first one says behind its prefix differs: 1.1 against
    1 + .1 (1 - 5 / 12). Of the second, the right answer earns more than the wrong one at every position."""
    _, advantages, _ = rewarded("decs", answers=REDUNDANT)
    token = np.asarray(advantages.token["reason"])
    near = functools.partial(np.testing.assert_allclose, atol=1e-4)
    near(token[0, 0], [0, -1, -1, *[0] * 9])
    near(token[0, 1], [0, 1, 1, *[0] * 9])
    near(token[1, 0], [-1, -1, -1, *[0] * 9])
    near(token[1, 1], [1] * 6 + [0] * 6)


def test_the_curriculum_follows_how_much_was_needed():
    """Places of the first chunks with the answer: 1 of 2, 1 of 1, and 1 of 3. Catches wrong answers counted in, and a
    share that moves without dynamic sampling."""
    on = ("--grpo.dynamic_sampling=true",)
    assert rewarded("decs", answers=REDUNDANT)[2] is None
    memory = rewarded("decs", answers=REDUNDANT, settings=on)[2]
    needed = (1 / 2 + 1 + 1 / 3) / 3
    assert memory == {"curriculum": {"first": pytest.approx(needed), "last": pytest.approx(needed)}}
    assert remember.easy_share(memory) == 0
    memory = rewarded("decs", memory=memory, answers=[REDUNDANT[0], [[b"7", b"\n\\boxed{7}"]] * 2], settings=on)[2]
    assert memory["curriculum"] == {"first": pytest.approx(needed), "last": pytest.approx((1 / 2 + 1 + 1) / 3)}
    assert remember.easy_share(memory) == pytest.approx(0.2 * (5 / 6 - needed))


@pytest.mark.parametrize("memory", [None, {"method": {"a": 3}}, {"method": {}, "target": {"target": 4}}])
def test_a_checkpoint_holds_the_memory_beside_the_arrays(memory):
    """Catches a dictionary among the arrays, which a checkpoint of another method could not be read with."""
    held = state.RunState(train=None, ratio=initial_ratio(), memory=memory)
    named = {name: SimpleNamespace(fingerprint=name) for name in ("stream", "tokenizer")}
    exp = SimpleNamespace(test=[], config=Config(), **named)
    arrays, beside = state._parts(held, {"first": 1}, exp)
    assert arrays.memory is None
    assert remember.held(beside) == memory
    assert beside["monitor"] == {"first": 1}


def test_a_history_that_is_never_read_is_said():
    """60 steps of 4 go over 200 problems once and into a second time; over 300 never. Catches a run of hapo that pays
    nothing for length, and a warning to those who remember nothing."""
    hapo = ["--reward.preset=hapo", "--run.max_steps=60", "--data.prompts_per_step=4"]
    assert setup.unmet(200, load(None, hapo)) == ""
    assert "60 steps of 4 problems meet none of 300 twice" in setup.unmet(300, load(None, hapo))
    assert setup.unmet(300, load(None, [*hapo, "--reward.preset=lp"])) == ""
    assert setup.unmet(300, load(None, [*hapo, "--run.max_steps=0"])) == ""
