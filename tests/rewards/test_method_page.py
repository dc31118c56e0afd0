"""Every example of docs/extending/method.md, taken from the page and run."""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason import config
from jaxreason.rewards.length import Completions
from jaxreason.rewards.methods import chosen, fields_of

PAGE = (Path(__file__).parents[2] / "docs/extending/method.md").read_text()
EXAMPLES = dict(re.findall(r'```python title="(\w+\.py)"\n(.*?)```', PAGE, re.DOTALL))
COMMANDS = re.findall(r"jaxreason train configs/quickstart.yaml (.*)", PAGE)

SEEN = Completions(
    right=jnp.array([[True, True, False, True]]), length=jnp.array([[25, 40, 9, 100]], jnp.int32),
    length_y=jnp.array([[25.0, 36.0, 4.0, 100.0]]), charged=jnp.array([[25.0, 36.0, 4.0, 100.0]]),
    finished=jnp.ones((1, 4), bool), keep=jnp.ones((1, 4), bool), max_length=100,
)  # fmt: skip
EXPECTED = {
    "root.py:root": ([[1, 1, 0, 1]], [[0.5, 0.6, 0.2, 1.0]]),
    "median.py:median": ([[1.2, 1, 0, 1]], None),  # of 25, 40, 9, 100 it is 32.5
    "guarded_root.py:guarded_root": ([[1, 1, 0, 1]], [[0.5, 0.6, 0.2, 1.0]]),
}
"""Reward and cost, worked by hand, under the settings of the page's commands."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the page's files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for file, text in EXAMPLES.items():
        Path(file).write_text(text)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_trains_what_the_page_says(here, command):
    settings = [word for word in command.split() if not word.startswith("--run.")]
    loaded = config.load(None, settings)
    method = chosen(loaded)
    found = jax.jit(lambda: method.judge(SEEN, loaded.reward))()
    reward, cost = EXPECTED[loaded.reward.preset.rsplit("/", maxsplit=1)[-1]]
    np.testing.assert_allclose(found.reward, reward, rtol=1e-6)
    if cost is None:
        assert found.cost is None
    else:
        np.testing.assert_allclose(found.cost, cost, rtol=1e-6)
    assert (method.helpers == "train") == loaded.reward.preset.endswith("guarded_root")


def test_every_example_is_run():
    named = {word.split("=")[1] for command in COMMANDS for word in command.split() if "preset" in word}
    assert named == EXPECTED.keys()
    assert EXAMPLES.keys() == {name.split(":")[0] for name in EXPECTED}


def test_the_fields_of_the_page_are_those_that_exist():
    table = PAGE[PAGE.index("| field |") : PAGE.index("The function runs")]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(vars(SEEN))


def test_a_field_of_reward_arrives(here):
    """As the page says of target_length."""
    Path("target.py").write_text("def target(seen, *, target_length):\n    return seen.length < target_length\n")
    loaded = config.load(None, ["--reward.preset=target.py:target", "--reward.target_length=30"])
    assert fields_of(chosen(loaded), loaded.reward) == {"target_length": 30}
