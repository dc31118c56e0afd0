"""Every example of docs/extending/reward.md, taken from the page and run."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxreason import config
from jaxreason.rewards import functions
from jaxreason.rewards.functions import Batch, TrainerState

PAGE = (Path(__file__).parents[2] / "docs/extending/reward.md").read_text()
EXAMPLES = dict(re.findall(r'```python title="(\w+\.py)"\n(.*?)```', PAGE, re.DOTALL))
YAMLS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)

PLAIN = ["so \\boxed{4}", "so \\boxed{5}", "Sorry, 12 kg ", "4"]
THOUGHTS = ["<think>\n2+2\n</think>4", "<think></think>4", "4 <think>2+2</think>", "4"]
EXPECTED = {
    "brief.py": [-1 / 512, -2 / 512, -3 / 512, -4 / 512],
    "thinks.py": [1, 0, 0, 0],
    "boxed.py": [1, 0.1, 0, 0],
    "units.py": [None, None, 1, 0],
    "judged.py": [1, 1, 0, 1],
    "patience.py": [-0.25 * n / 512 for n in (1, 2, 3, 4)],
}
"""Worked by hand."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the page's files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for file, text in EXAMPLES.items():
        Path(file).write_text(text)
    return tmp_path


def _batch(conversational: bool) -> Batch:
    texts = THOUGHTS if conversational else PLAIN
    return Batch(
        prompts=[[{"role": "user", "content": "2+2?"}] if conversational else "2+2?"] * 4,
        completions=[[{"role": "assistant", "content": text}] for text in texts] if conversational else texts,
        completion_ids=[[7] * n for n in (1, 2, 3, 4)],
        columns={"answer": ["4"] * 4, "kind": ["algebra", "algebra", "physics", "physics"]},
    )


def test_every_example_is_run():
    assert EXAMPLES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("file", EXPECTED)
def test_an_example_gives_what_the_page_says(here, file):
    name = f"{file}:{file.removesuffix('.py')}"
    loaded = functions.load(config.RewardConfig(reward_funcs=(name,)), ("answer", "kind"))
    state = TrainerState(global_step=1, max_steps=4, epoch=0.0)
    found = functions.call(loaded, _batch(file == "thinks.py"), state, timeout_s=20)
    expected = EXPECTED[file]
    np.testing.assert_array_equal(found.applies_FN, [[value is not None for value in expected]])
    np.testing.assert_allclose(found.value_FN, [[value or 0 for value in expected]], rtol=1e-6)
    if file == "patience.py":
        assert found.metrics["rewards/price"] == 0.25
        assert found.extras == {"length": [1, 2, 3, 4]}


@pytest.mark.parametrize("number", range(len(YAMLS)))
def test_a_configuration_of_the_page_is_one(here, number):
    """Read from another folder, its functions are found beside it."""
    (here / "configs").mkdir()
    for file in EXAMPLES:
        (here / file).rename(here / "configs" / file)
    (here / "configs/run.yaml").write_text(YAMLS[number])
    found = config.load(here / "configs/run.yaml").reward
    assert functions.load(found, ())
    assert found.reward_funcs[0] == f"{here}/configs/brief.py:brief"


def test_the_command_of_the_page_is_one(here):
    (command,) = re.findall(r"```bash\njaxreason train CONFIG (.*?)\n```", PAGE)
    assert config.load(None, [command]).reward.reward_funcs == ("brief.py:brief",)


def test_the_table_of_arguments_names_them_all():
    table = PAGE[PAGE.index("| Argument |") : PAGE.index("A step has")]
    named = set(re.findall(r"`(\w+)[`(]", table.replace("`global_step`, `max_steps`, `epoch`", "")))
    assert named - {"None", "meta", "samples", "extra"} == {*functions.GIVEN, "id", "question", "answer", "source"}
