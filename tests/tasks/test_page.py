"""Every example of docs/extending/task.md, taken from the page and run."""

import re
from pathlib import Path

import pytest

from jaxreason.agents import prompts
from jaxreason.config import AgentsConfig, DataConfig
from jaxreason.data.problems import Problem
from jaxreason.run import setup
from jaxreason.tasks.asking import turns_of
from jaxreason.tasks.judge import verdict_of
from jaxreason.tasks.opening import open_task
from tests.agents.stand_in import StandIn, instruct

PAGE = (Path(__file__).parents[2] / "docs/extending/task.md").read_text()
EXAMPLES = dict(re.findall(r'```python title="(\w+\.py)"\n(.*?)```', PAGE, re.DOTALL))
DOORS = re.findall(r"--(data\.task|agents\.prompts)=(\S+)", PAGE)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working directory with the page's files; doors are kept by the spelling, which is the page's own."""
    monkeypatch.chdir(tmp_path)
    for file, text in EXAMPLES.items():
        Path(file).write_text(text)
    open_task.cache_clear()
    yield
    open_task.cache_clear()


def test_the_page_names_what_it_shows():
    assert {name.partition(":")[0] for _, name in DOORS} <= set(EXAMPLES)
    assert len(EXAMPLES) == 5
    assert "hexadecimal.py:Hexadecimal" in {name for _, name in DOORS}


@pytest.mark.parametrize(
    ("name", "answer", "problem", "outcome"),
    [
        ("hexadecimal.py:Hexadecimal", "0xff", Problem("a", "?", "FF"), "right"),
        ("hexadecimal.py:Hexadecimal", "fe", Problem("a", "?", "FF"), "wrong"),
        ("hexadecimal.py:Hexadecimal", "no number", Problem("a", "?", "FF"), "wrong"),
        ("multiple.py:grade", "(b) ", Problem("a", "?", "B"), "right"),
        ("multiple.py:grade", "c", Problem("a", "?", "B"), "wrong"),
    ],
)
def test_graders(name, answer, problem, outcome):
    assert verdict_of(open_task(name).grade(answer, problem)).outcome == outcome


def test_a_system_prompt_an_example_and_an_answer_behind_hashes():
    task = open_task("hashes.py:Hashes")
    turns = turns_of(task, Problem("a", "What is 1+1?", "2"))
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[-1]["content"] == "What is 1+1?"
    assert task.read("1+1=2\n#### 2") == (0, 6, "2", None)
    assert task.read("1+1=2") == (0, 5, None, None)


def test_choices_are_shown_below_the_question():
    problem = Problem("a", "Which is even?", "B", meta={"choices": {"A": "3", "B": "4"}})
    (turn,) = turns_of(open_task("multiple.py:grade"), problem)
    assert turn["content"].startswith("Which is even?\nA) 3\nB) 4\n\nThink first")


def test_problems_of_its_own():
    data = DataConfig(task="sums.py:Sums", train_size=50, test_size=40)
    train, test = setup.own_problems(data, "train", 50), setup.held_out(data)
    assert (len(train), len(test)) == (50, 40)
    assert not {problem.question for problem in train} & {problem.question for problem in test}
    assert setup.held_out(data) == test
    first = test[0].question.removeprefix("What is ").removesuffix("?")
    assert sum(map(int, first.split("+"))) == int(test[0].answer)


def test_prompts_of_the_helpers():
    config = AgentsConfig(prompts=str(Path("proofs.py").resolve()) + ":Proofs")
    prompts.try_prompts(config)
    (asked,) = prompts.render_score(["2|4"], [["4=2*2\n", "so 2|4\n"]], config, StandIn(template=instruct))
    assert "Theorem: 2|4\n\n[1] 4=2*2\n\n[2] so 2|4\n" in asked
    assert "each of the 2 steps" in asked
