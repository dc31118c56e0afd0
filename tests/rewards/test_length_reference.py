"""Every length method of the literature against loops in Python's floats, on random steps."""

import numpy as np
import pytest

from jaxreason.config import RewardConfig
from jaxreason.rewards.methods import METHODS
from tests.helpers import TOLERANCE
from tests.reference import length as reference
from tests.rewards.moments import completions, memory_of, random_step

SEEDS = range(15)


def judged(name: str, step: dict, **options):
    return METHODS[name].judge(completions(step, memory=memory_of(METHODS[name])), RewardConfig(options=options))


def compare(got, expected, step) -> None:
    np.testing.assert_allclose(
        np.asarray(got)[step["keep"]], expected[step["keep"]], rtol=TOLERANCE["sum"], atol=TOLERANCE["sum"]
    )


@pytest.mark.parametrize("name", reference.REWARDS)
def test_rewards_are_those_of_the_loops(name):
    """Catches a statistic over the wrong rows, a wrong sign, and a default that is not the source's."""
    for seed in SEEDS:
        step = random_step(seed)
        compare(judged(name, step).reward, reference.by_row(reference.REWARDS[name])(step), step)


def test_what_is_not_a_reward():
    """Catches the cost of alp, the rows of gfpo, the closing advantage of lc_r1 and the needless tokens of decs."""
    for seed in SEEDS:
        step = random_step(seed)
        compare(judged("alp", step).cost, reference.by_row(reference.alp_cost)(step), step)
        compare(judged("lc_r1", step).closing, reference.by_row(reference.lc_r1_closing)(step), step)
        compare(judged("decs", step).needless, reference.by_row(reference.decs_needless)(step), step)
        for by_efficiency in (False, True):
            kept = judged("gfpo", step, by_efficiency=by_efficiency).keep
            np.testing.assert_array_equal(kept, reference.gfpo_keep(step, by_efficiency=by_efficiency))


def test_every_method_of_the_literature_has_a_loop():
    """Catches a new row whose formula nothing checks; the others are worked by hand elsewhere."""
    by_hand = {"truncation", "dler", "kimi", "laser", "laser_d", "dapo_overlong", "grpo", "lp", "crisp"}
    ours = {name for name, method in METHODS.items() if method.charged == "chunks"}
    assert reference.REWARDS.keys() | by_hand | ours == METHODS.keys()
