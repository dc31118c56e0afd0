"""A target length that follows the right answers: by hand, over a window, and within its bounds."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.config import RewardConfig, load
from jaxreason.rewards.length import Completions, Moment, masking
from jaxreason.rewards.methods import METHODS, chosen
from jaxreason.rewards.target import follow

LIMIT = 100
LENGTH = np.array([[10, 20, 30, 40], [50, 60, 70, 80]], np.int32)
RIGHT = np.array([[1, 1, 0, 1], [0, 1, 0, 1]], bool)
"""Right answers of 10, 20, 40, 60 and 80 tokens."""


def config_of(quantile=0.9, window=1, floor=0) -> RewardConfig:
    return RewardConfig(preset="truncation", target_quantile=quantile, target_window=window, target_length=floor)


@pytest.mark.parametrize(
    ("quantile", "expected"), [(0.9, 80), (0.8, 60), (0.79, 60), (0.6, 40), (0.5, 40), (0.2, 10), (1.0, 80)]
)
def test_a_quantile_by_hand(quantile, expected):
    """Catches wrong answers among the lengths, and a length between two that nobody wrote."""
    assert follow({}, RIGHT, LENGTH, config_of(quantile), LIMIT)[0] == expected


@given(seed=st.integers(0, 2**31), quantile=st.floats(0.01, 1.0), window=st.integers(1, 3), floor=st.integers(0, 150))
def test_the_target_stays_within_its_bounds_and_its_promise(seed, quantile, window, floor):
    """Never above L_R nor below the floor, and else the shortest length that covers the share, counted by a loop."""
    rng, memory, seen = np.random.default_rng(seed), {}, []
    for _ in range(4):
        right, length = rng.random((3, 4)) < 0.4, rng.integers(1, LIMIT + 1, (3, 4)).astype(np.int32)
        seen = [*seen, [int(n) for n, ok in zip(length.flat, right.flat, strict=True) if ok]][-window:]
        target, memory = follow(memory, right, length, config_of(quantile, window, floor), LIMIT)
        assert min(floor, LIMIT) <= target <= LIMIT
        lengths = [n for step in seen for n in step]
        if lengths and target > floor and floor < LIMIT:
            assert sum(n <= target for n in lengths) >= quantile * len(lengths) * (1 - 1e-9)
            assert sum(n < target for n in lengths) < quantile * len(lengths) * (1 + 1e-9)


def test_a_window_and_steps_without_a_right_answer():
    """Catches a window one step too long, and a step without right answers that lets the target jump to the limit."""
    nobody, settings = np.zeros_like(RIGHT), config_of(1.0, window=2)
    target, memory = follow({}, nobody, LENGTH, settings, LIMIT)
    assert target == LIMIT
    targets = []
    for right, length in [
        (RIGHT, LENGTH),
        (RIGHT, LENGTH // 2),
        (RIGHT, LENGTH // 10),
        (nobody, LENGTH),
        (nobody, LENGTH),
    ]:
        target, memory = follow(memory, right, length, settings, LIMIT)
        targets.append(target)
    assert targets == [80, 80, 40, 8, 8]


@pytest.mark.parametrize("window", [1, 3])
def test_a_memory_that_went_through_a_checkpoint_is_the_same(window):
    """Catches numbers that JSON has not, and a window that begins anew with a launch."""
    rng, kept, resumed = np.random.default_rng(0), {}, {}
    for _ in range(6):
        right, length = rng.random((2, 4)) < 0.5, rng.integers(1, LIMIT, (2, 4)).astype(np.int32)
        target, kept = follow(kept, right, length, config_of(0.7, window), LIMIT)
        again, resumed = follow(json.loads(json.dumps(resumed)), right, length, config_of(0.7, window), LIMIT)
        assert (again, resumed) == (target, kept)


def seen_at(target: int | None) -> Completions:
    return Completions(
        right=jnp.asarray(RIGHT), length=jnp.asarray(LENGTH), length_y=jnp.float32(LENGTH),
        charged=jnp.float32(LENGTH), finished=jnp.ones_like(jnp.asarray(RIGHT)), keep=jnp.ones_like(jnp.asarray(RIGHT)),
        max_length=LIMIT,
        moment=Moment(progress=jnp.float32(1.0), target=None if target is None else jnp.int32(target)),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["truncation", "dler", "laser", "laser_d", "think_prune"])
def test_every_method_reads_the_target_of_the_moment(name):
    """Catches a method that stays at its fixed target: at the same target both ways give the same, and at 40 not."""
    moving = METHODS[name].judge(seen_at(60), RewardConfig(preset=name, target_quantile=0.9)).reward
    fixed = METHODS[name].judge(seen_at(None), RewardConfig(preset=name, target_length=60)).reward
    other = METHODS[name].judge(seen_at(40), RewardConfig(preset=name, target_quantile=0.9)).reward
    np.testing.assert_array_equal(moving, fixed)
    assert (np.asarray(moving) != np.asarray(other)).any()


def test_masks_take_an_array():
    """Catches a traced target that is asked whether it is 0."""
    found = masking(seen_at(None), "-L&C", target_length=jnp.int32(40))
    np.testing.assert_array_equal(found, ~(RIGHT & (LENGTH > 40)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            ["--reward.preset=lp", "--reward.target_quantile=0.9"],
            "reward.target_quantile: expected 0 with reward.preset",
        ),
        (
            ["--reward.preset=truncation", "--reward.target_quantile=90"],
            r"reward.target_quantile: expected in \[0, 1\]",
        ),
        (["--reward.target_window=0"], "reward.target_window: expected at least 1"),
    ],
)
def test_a_bad_setting_is_one_line(settings, expected):
    with pytest.raises(ValueError, match=expected):
        chosen(load(None, settings))


def test_masks_alone_may_have_a_target_that_moves():
    """Catches a refusal of lp with a mask by length."""
    assert chosen(load(None, ["--reward.preset=lp", "--reward.masking=-L&C", "--reward.target_quantile=0.9"]))
