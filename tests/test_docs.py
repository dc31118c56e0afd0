"""README and the documentation: short where it should be, links that lead somewhere, code that runs.

`make docs` checks the links between the pages of the site; here are those that it cannot see.
"""

import re
from pathlib import Path

import pytest

from jaxreason import config
from jaxreason.config import shipped
from jaxreason.data.problems import Problem

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TEXTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "tpu").glob("*.md"))]
SITE_ONLY = {"configuration.md", "metrics.md"}
"""Pages that are made when the site is built."""


def _code(name: str) -> dict:
    """The names that README's example of this file defines."""
    (code,) = re.findall(rf"```python\n(# {name}.*?)```", README, re.DOTALL)
    found: dict = {}
    exec(code, found)
    return found


def test_readme_is_a_page_to_start_from():
    assert len(README.splitlines()) <= 150
    assert not re.search(r"\b(?=[a-f0-9]*\d)(?=[a-f0-9]*[a-f])[a-f0-9]{7}\b", README), (
        "a commit's hash belongs in docs/"
    )


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    """On GitHub, and from the pages of the site to the guides in tpu/."""
    targets = re.findall(
        r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
    )
    missing = []
    for target in targets:
        made = Path(target).name in SITE_ONLY and page.is_relative_to(ROOT / "docs")
        of_tpu = "tpu/" in target and (ROOT / target[target.index("tpu/") :]).exists()
        if not (target.startswith("https://") or made or of_tpu or (page.parent / target).exists()):
            missing.append(target)
    assert not missing


def test_no_page_needs_the_network():
    """Material loads Mermaid from a CDN where a page has such a diagram."""
    assert not [page for page in TEXTS if "```mermaid" in page.read_text()]


def test_readmes_reward_gives_a_number_for_each_completion():
    function = _code("my_rewards.py")["no_hedging"]
    conversation = [{"role": "assistant", "content": "no doubt"}]
    assert function(completions=["Maybe 3, maybe 4", conversation], question=["?", "?"]) == [-2, 0]


def test_readmes_task_asks_and_grades():
    task = _code("my_task.py")["Reversed"]()
    problem = Problem(id="1", question="What is 6*7?", answer="42", source="", meta={})
    assert task.messages(problem)[-1] == {"role": "user", "content": problem.question}
    assert task.grade("24", problem)
    assert not task.grade("42", problem)


def test_readmes_settings_exist():
    """Every `section.field` that README names, and every configuration."""
    known = {f"{name}.{key}" for name, fields in config.to_dict(config.Config()).items() for key in fields}
    named = set(re.findall(r"\b((?:data|reward|agents|grpo|budget|run|model|mesh)\.\w+)\b", README))
    assert named
    assert not named - known
    for name in re.findall(r"jaxreason train (\w[\w.]*)", README):
        assert shipped.find(name)
