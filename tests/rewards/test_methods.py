"""The table of methods: what every row must do, how its fields are filled, and a method of the user's own."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreason.config import RewardConfig, load
from jaxreason.rewards.length import Completions
from jaxreason.rewards.methods import METHODS, chosen, fields_of, named, target_of
from tests.helpers import TOLERANCE


def completions(seed: int) -> Completions:
    rng = np.random.default_rng(seed)
    length = rng.integers(2, 41, size=(3, 6)).astype(np.int32)
    y = np.maximum(length - rng.integers(1, 4, size=(3, 6)), 0).astype(np.float32)
    finished = length < 40
    return Completions(
        right=jnp.asarray((rng.random((3, 6)) < 0.5) & finished), length=jnp.asarray(length), length_y=jnp.asarray(y),
        charged=jnp.asarray(y), finished=jnp.asarray(finished), keep=jnp.ones((3, 6), bool), max_length=40,
    )  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
@given(seed=st.integers(0, 2**31), order=st.permutations(range(6)))
def test_every_method_is_finite_and_knows_no_order(name, seed, order):
    """Catches 0/0, a row that reads its neighbours by place, and a shape that does not fit."""
    seen, config = completions(seed), RewardConfig(preset=name, target_length=20)
    moved = Completions(**{k: v if k == "max_length" else v[:, np.array(order)] for k, v in vars(seen).items()})
    found, other = METHODS[name].judge(seen, config), METHODS[name].judge(moved, config)
    assert (found.cost is not None) == METHODS[name].priced
    for array, again in zip(found, other, strict=True):
        if array is not None:
            assert array.shape == (3, 6)
            assert array.dtype == jnp.float32
            assert np.isfinite(array).all()
            np.testing.assert_allclose(again, array[:, np.array(order)], atol=TOLERANCE["elementwise"])


@pytest.mark.parametrize("name", METHODS)
def test_every_row_says_what_it_is(name):
    """Catches a row that the documentation cannot print, or that cannot be a static argument."""
    assert METHODS[name].summary
    assert METHODS[name].source
    assert hash(METHODS[name]) == hash(dataclasses.replace(METHODS[name]))
    assert "reason" in METHODS[name].terms


def test_a_method_gets_its_own_fields():
    """Catches an option that is dropped, and a shared field that does not arrive."""
    config = RewardConfig(preset="laser", target_length=5, options={"weight": 0.1})
    assert fields_of(METHODS["laser"], config) == {"target_length": 5, "weight": 0.1}
    assert target_of(METHODS["laser"], config) == 5
    assert target_of(METHODS["lp"], RewardConfig(preset="lp", target_length=5)) == 0
    assert target_of(METHODS["lp"], RewardConfig(preset="lp", target_length=5, masking="-L&C")) == 5


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
    seen = completions(0)
    found = square.judge(seen, config)
    np.testing.assert_allclose(found.cost, 0.5 * (np.asarray(seen.length) / 40) ** 2, rtol=TOLERANCE["elementwise"])
    assert named(f"{file}:plain").judge(seen, RewardConfig()).cost is None
    assert named(f"{file}:whole").summary == "mine"
    with pytest.raises(ValueError, match=r"expected a function or a Method at .*mine.py:number, got int"):
        named(f"{file}:number")
    with pytest.raises(ValueError, match=r"reward.options.weight: expected a value, since .*square has no default"):
        chosen(load(None, [f"--reward.preset={file}:square"]))
