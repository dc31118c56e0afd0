"""The table of methods: what every row must do, how its fields are filled, and a method of the user's own."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.config import GRPOConfig, RewardConfig, load
from jaxreason.rewards.methods import METHODS, chosen, fields_of, named, scale_of, target_of
from tests.helpers import TOLERANCE
from tests.rewards.moments import completions, memory_of, permuted, random_step


@functools.cache
def compiled(name: str):
    """A method under its default fields, jitted once for all of a test's examples."""
    return jax.jit(lambda seen: METHODS[name].judge(seen, RewardConfig(preset=name, target_length=20)))


def judged(name: str, step: dict):
    """What a method gives for a random step."""
    return compiled(name)(completions(step, memory=memory_of(METHODS[name])))


@pytest.mark.parametrize("name", METHODS)
@given(seed=st.integers(0, 2**31), order=st.permutations(range(6)))
def test_every_method_is_finite_and_knows_no_order(name, seed, order):
    """Catches 0/0, a row that reads its neighbours by place, and a shape that does not fit."""
    step = random_step(seed)
    found, other = judged(name, step), judged(name, permuted(step, order))
    assert (found.cost is not None) == METHODS[name].priced
    assert (found.closing is not None) <= ("answer_at" in METHODS[name].reads)
    for field, array, again in zip(found._fields, found, other, strict=True):
        if array is not None:
            assert array.shape[:2] == (3, 6)
            assert array.ndim == 2 + (field == "token")
            assert array.dtype == (bool if field == "keep" else jnp.float32)
            assert np.isfinite(array).all()
            np.testing.assert_allclose(again, array[:, np.array(order)], atol=TOLERANCE["sum"])


@pytest.mark.parametrize("name", METHODS)
@given(seed=st.integers(0, 2**31))
def test_a_row_that_is_left_out_changes_nothing(name, seed):
    """Catches an answer that could not be graded counted into its group's lengths or its pass rate."""
    step = random_step(seed)
    keep = step["keep"]
    other = step | {
        "right": np.where(keep, step["right"], ~step["right"]),
        "length": np.where(keep, step["length"], 41 - step["length"]).astype(np.int32),
        "y": np.where(keep, step["y"], 40 - step["y"]).astype(np.float32),
    }
    for array, again in zip(judged(name, step), judged(name, other), strict=True):
        if array is not None:
            np.testing.assert_allclose(np.asarray(again)[keep], np.asarray(array)[keep], atol=TOLERANCE["sum"])


@pytest.mark.parametrize("name", METHODS)
@given(seed=st.integers(0, 2**31))
def test_of_two_equally_long_completions_the_right_one_earns_more(name, seed):
    """Catches a method under which being wrong pays: two that end, of one length, one right and one wrong."""
    step = random_step(seed)
    for field, value in {"length": 17, "y": 15.0, "finished": True, "keep": True, "repeats": False}.items():
        step[field][:, :2] = value
    step["right"][:, :2] = [True, False]
    found = judged(name, step)
    total = found.reward if found.cost is None else found.reward - 0.2 * found.cost
    assert (np.asarray(total)[:, 0] > np.asarray(total)[:, 1]).all() or name == "l1_max"
    assert (np.asarray(total)[:, 0] >= np.asarray(total)[:, 1]).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("right", [True, False])
def test_a_group_without_spread_gets_equal_rewards(name, right):
    """Catches a rounding error that becomes an advantage: equal completions, all right or all wrong."""
    step = random_step(0) | {
        "right": np.full((3, 6), right),
        "length": np.full((3, 6), 17, np.int32),
        "y": np.full((3, 6), 15, np.float32),
        "finished": np.ones((3, 6), bool),
        "keep": np.ones((3, 6), bool),
        "answer_at": np.full((3, 6), 9, np.int32),
        "repeats": np.zeros((3, 6), bool),
        "teacher": np.full((3, 6, 40), -0.5, np.float32),
    }
    for array in judged(name, step):
        if array is not None:
            np.testing.assert_array_equal(array, np.asarray(array)[:, :1].repeat(6, 1))


@pytest.mark.parametrize("name", METHODS)
def test_every_row_says_what_it_is(name):
    """Catches a row that the documentation cannot print, or that cannot be a static argument."""
    assert METHODS[name].summary
    assert METHODS[name].source
    assert hash(METHODS[name]) == hash(dataclasses.replace(METHODS[name]))
    assert "reason" in METHODS[name].terms
    assert hash(METHODS[name].memory) is not None


def test_a_method_gets_its_own_fields():
    """Catches an option that is dropped, and a shared field that does not arrive."""
    config = RewardConfig(preset="laser", target_length=5, options={"weight": 0.1})
    assert fields_of(METHODS["laser"], config) == {"target_length": 5, "weight": 0.1}
    assert target_of(METHODS["laser"], config) == 5
    assert target_of(METHODS["lp"], RewardConfig(preset="lp", target_length=5)) == 0
    assert target_of(METHODS["lp"], RewardConfig(preset="lp", target_length=5, masking="-L&C")) == 5


def test_a_method_is_divided_by_what_its_source_divides_by():
    """Catches DLER over the spread of the group, and a user's own choice that is passed over."""
    assert [scale_of(METHODS[name], GRPOConfig()) for name in ("dler", "tlmre", "kimi")] == ["batch", "none", "group"]
    assert scale_of(METHODS["dler"], GRPOConfig(scale_rewards="none")) == "none"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["--reward.preset=scam"], r"reward.preset: expected one of scma, guarded.* got 'scam'; did you mean scma\?"),
        (["--reward.preset=laser", "--reward.options.wieght=1"], "reward.options.wieght: expected one of weight with"),
        (["--reward.preset=grpo", "--reward.options.weight=1"], "reward.options.weight: expected none with reward.pre"),
        (["--reward.format_penalty=0.5"], "reward.format_penalty: expected at least 1 with preset guarded, or an"),
        (["--reward.preset=shuffled", "--reward.format_penalty=0.9"], "expected at least 1 with preset shuffled"),
        (
            ["--budget.target_tokens=50", "--reward.preset=grpo"],
            "reward.preset: expected one that penalises length by alpha, since a target is set, got 'grpo'",
        ),
        (["--reward.preset=nowhere.py:mine"], "reward.preset: nowhere.py:mine: no such file"),
    ],
)
def test_a_setting_that_a_method_cannot_work_with_is_one_line(settings, expected):
    """Catches a typo that trains another method than was meant."""
    with pytest.raises(ValueError, match=expected):
        chosen(load(None, settings))


def test_a_method_of_the_users_own(tmp_path):
    """Catches a door that only opens for what is shipped: a function, its fields, and a whole Method."""
    file = tmp_path / "mine.py"
    file.write_text(
        "import jax.numpy as jnp\n"
        "from jaxreason.rewards.length import LengthReward\n"
        "from jaxreason.rewards.methods import Method, Terms\n"
        "def square(seen, *, weight):\n"
        '    "Pays the square of the share of the limit."\n'
        "    share = seen.length / seen.max_length\n"
        "    return LengthReward(seen.right.astype(jnp.float32), weight * share**2)\n"
        "def plain(seen):\n"
        "    return seen.right * 2.0\n"
        "whole = Method(square, 'mine', 'me', {'reason': Terms(outcome=1.0)})\n"
        "number = 3\n"
    )
    square = named(f"{file}:square")
    assert square.summary == "Pays the square of the share of the limit."
    assert square.priced
    config = RewardConfig(preset=f"{file}:square", options={"weight": 0.5})
    seen = completions(random_step(0))
    found = square.judge(seen, config)
    np.testing.assert_allclose(found.cost, 0.5 * (np.asarray(seen.length) / 40) ** 2, rtol=TOLERANCE["elementwise"])
    assert named(f"{file}:plain").judge(seen, RewardConfig()).cost is None
    assert named(f"{file}:whole").summary == "mine"
    with pytest.raises(ValueError, match=r"expected a function or a Method at .*mine.py:number, got int"):
        named(f"{file}:number")
    with pytest.raises(ValueError, match=r"reward.options.weight: expected a value, since .*square has no default"):
        chosen(load(None, [f"--reward.preset={file}:square"]))
