"""The table of docs/extending.md, counted: what somebody new writes or edits for each change.

The examples behind the doors are run by the tests of their pages (tests/rewards, tests/tasks); here it is counted that
they need no other file. What ships is edited in a copy of the package, in the files that the table names and no other.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTENDING = ROOT / "docs/extending"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/extending.md").read_text().splitlines()
    if line.startswith("| ") and "You want" not in line
]

LENGTH = '''

def half(seen: Completions) -> LengthReward:
    """Right answers earn 1, those above half the limit 0.5."""
    return LengthReward(jnp.where(seen.right, jnp.where(seen.length > seen.max_length / 2, 0.5, 1.0), 0.0))
'''
METHOD = """    "half": Method(length.half, "right answers count half above half the limit", "a test", _ALONE),
"""
FAMILY = """    "mistral": Family(
        "MistralForCausalLM",
        _COMMON | {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
        | {"num_key_value_heads": 8, "sliding_window": 4096},
    ),
"""
SHAPE = {
    "model_type": "mistral",
    "architectures": ["MistralForCausalLM"],
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "sliding_window": None,
    "tie_word_embeddings": True,
}


def _files_of(page: str) -> dict[str, str]:
    return dict(re.findall(r'```python title="(\w+\.py)"\n(.*?)```', (EXTENDING / page).read_text(), re.DOTALL))


@pytest.mark.parametrize("page", ["method.md", "reward.md", "task.md"])
def test_an_example_behind_a_door_is_one_file_and_none_of_the_programs(page):
    """One that goes beyond imports a file shown on the same page, which the table counts."""
    files, more = _files_of(page), []
    for name, text in files.items():
        own = [
            module for module in re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE) if f"{module}.py" in files
        ]
        more += [(name, *own)] if own else []
    assert more == ([("guarded_root.py", "root")] if page == "method.md" else [])


def test_the_table_says_so():
    doors, ships = ROWS[:7], ROWS[7:]
    assert [row[2].split(",")[0] for row in doors] == ["1 file"] * 7
    assert [row[3] for row in ROWS] == ["0"] * 7 + ["2", "1"]
    assert ships[0][1] == "`rewards/length.py`, `rewards/methods.py`"
    assert ships[1][1] == "`policy/hf_families.py`"


@pytest.fixture
def package(tmp_path):
    """A copy of the package that a test may edit."""
    shutil.copytree(ROOT / "jaxreason", tmp_path / "jaxreason", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def _run(package, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=package,
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_edits_ship_a_length_reward(package):
    """The command line, the check of a configuration and the list of methods follow from the row."""
    length, methods = (package / "jaxreason/rewards" / name for name in ("length.py", "methods.py"))
    length.write_text(length.read_text() + LENGTH)
    methods.write_text(methods.read_text().replace('    "grpo": Method(', f'{METHOD}    "grpo": Method('))
    assert re.search(
        r"half .*right answers count half above half the limit", _run(package, "-m", "jaxreason", "methods")
    )
    text = "from jaxreason import config; from jaxreason.rewards.methods import chosen; "
    assert "half" in _run(package, "-c", f"{text}print(chosen(config.load(None, ['--reward.preset=half'])).length)")


def test_one_edit_ships_a_family_of_checkpoints(package):
    families = package / "jaxreason/policy/hf_families.py"
    families.write_text(families.read_text().replace('    "smollm3": Family(', f'{FAMILY}    "smollm3": Family('))
    (package / "config.json").write_text(json.dumps(SHAPE))
    text = "from jaxreason.policy.hf_config import model_config; print(model_config('.'))"
    assert "hidden_size=16" in _run(package, "-c", text)
