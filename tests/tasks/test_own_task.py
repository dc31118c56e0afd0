"""A user's own task: what it may be made of, what becomes of its mistakes, and a run with one."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxreason.config import AgentsConfig, Config, DataConfig, load, save
from jaxreason.config.doors import DoorError, DoorFailed
from jaxreason.data.problems import Problem
from jaxreason.grading.pool import Pool
from jaxreason.run import setup
from jaxreason.tasks.asking import turns_of
from jaxreason.tasks.base import Labelled, OwnProblems, Task
from jaxreason.tasks.calculator.problems import generate
from jaxreason.tasks.grading import grade_answers, refuse_without_workers, try_grading
from jaxreason.tasks.labels import labels_of
from jaxreason.tasks.opening import name_of, open_task, task_of
from jaxreason.tasks.reading import Reasoning, Span, find_reasoning
from tests import runs
from tests.agents.stand_in import StandIn, qwen3
from tests.agents.stand_in import asked as ask

REVERSED = """
class Reversed:
    def grade(self, answer, problem):
        return answer == problem.answer[::-1] and problem.meta["base"] == 10
"""
FUNCTIONS = """
def read(text):
    reasoning, mark, answer = text.partition("####")
    return 0, len(reasoning), answer.strip() if mark else None

def grade(answer, problem):
    return float(answer == problem.question[-1])

def helper():
    pass
"""
PROBLEM = Problem("a", "Turn 12 round", "12", meta={"base": 10})


@pytest.fixture
def written(tmp_path):
    """Write a file of Python and give the door of one of its names."""

    def write(text: str, name: str) -> str:
        file = tmp_path / f"own{len(list(tmp_path.iterdir()))}.py"
        file.write_text(text)
        return f"{file}:{name}"

    return write


def _answers(*answers: str | None) -> list[Reasoning]:
    return [Reasoning("", [], [], answer) for answer in answers]


def test_the_default_follows_the_training_problems():
    assert name_of(DataConfig()) == "calculator"
    assert name_of(DataConfig(train="mine.jsonl")) == "math"
    assert name_of(DataConfig(task="boxed_math")) == "boxed_math"
    assert isinstance(task_of(DataConfig()), OwnProblems)
    assert isinstance(task_of(DataConfig()), Labelled)
    assert not isinstance(open_task("boxed_math"), OwnProblems)


def test_a_configuration_of_before_there_were_tasks_is_opened(tmp_path):
    """Old run folders hold neither data.task nor a door."""
    save(Config(), tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text()
    assert "  task: auto\n" in text
    (tmp_path / "config.yaml").write_text(text.replace("  task: auto\n", ""))
    assert load(tmp_path / "config.yaml") == Config()


def test_one_method_suffices_and_sees_question_and_meta(written):
    """Catches a grader that gets two strings, one that nothing can kill, and answers taken for others'."""
    task = open_task(written(REVERSED, "Reversed"))
    assert ask("q", AgentsConfig(), StandIn()) == "<|reason|>q\n"
    other = Problem("b", "Turn 12 round", "12", meta={"base": 2})
    with Pool(num_workers=1, timeout_s=5.0) as pool:
        grades = grade_answers(task, _answers("21", "12", None, "21"), [PROBLEM, PROBLEM, PROBLEM, other], pool)
        assert not pool.workers[0].done
    assert grades.correct.tolist() == [True, False, False, False]
    assert grades.gradable.all()
    assert grades.status == ["ok", "ok", "no_answer", "ok"]
    with pytest.raises(ValueError, match=r"grading.num_workers: expected at least 1 with data.task=.*Reversed"):
        refuse_without_workers(task, 0)
    refuse_without_workers(open_task("boxed_math"), 0)


def test_plain_functions_of_a_file_will_do(written):
    """Each under its own name; what else the file holds is not the task's."""
    task = open_task(written(FUNCTIONS, "grade"))
    tokenizer = StandIn()
    (ids,) = tokenizer.encode_batch(["so 3\n#### 4 "])
    found = find_reasoning(ids, tokenizer, task.read)
    assert (found.text, found.answer, found.trouble) == ("so 3\n", "4", "")
    with Pool(num_workers=1, timeout_s=5.0) as pool:
        grades = grade_answers(task, _answers("d", "x"), [PROBLEM, PROBLEM], pool)
    assert grades.correct.tolist() == [True, False]


def test_an_object_and_a_subclass_will_do(written):
    text = "from jaxreason.tasks.base import Task\n\nclass Mine(Task):\n    symbols = ('x',)\n\nmade = Mine()\n"
    task = open_task(written(text, "made"))
    assert (task.symbols, task.read("\\boxed{3}").answer) == (("x",), "3")
    assert open_task(written("class A:\n    def read(self, text):\n        return 0, 0, None\n", "A")).read("abc") == (
        0,
        0,
        None,
    )


SHOTS = """
class Shots:
    def messages(self, problem):
        return [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1+1"},
            {"role": "assistant", "content": "2"},
            {"role": "user", "content": problem.question},
        ]
"""


def test_system_turns_and_examples_in_every_family(written):
    """Letter for letter: a chat template gets the turns, `plain` is one text, `marks` the contents behind its mark."""
    from jaxreason.agents.prompts import render_reason

    task, seen = open_task(written(SHOTS, "Shots")), []

    class Turns(StandIn):
        def render_chat(self, messages, **kwargs):
            seen.append((list(messages), kwargs))
            return super().render_chat(messages, **kwargs)

    problem = Problem("a", "3+4", "7")
    (chat,) = render_reason([problem], task, AgentsConfig(prompts="chat"), Turns(template=qwen3))
    assert chat == "<|im_start|>user\n3+4<|im_end|>\n<|im_start|>assistant\n"
    assert [turn["role"] for turn in seen[0][0]] == ["system", "user", "assistant", "user"]
    (plain,) = render_reason([problem], task, AgentsConfig(prompts="plain"), StandIn())
    assert plain == "Be brief.\n\n1+1\n\nAnswer:\n2\n\n3+4\n\nAnswer:\n"
    (marks,) = render_reason([problem], task, AgentsConfig(), StandIn())
    assert marks == "<|reason|>Be brief.\n1+1\n2\n3+4\n"


def _messages(body: str) -> str:
    return f"class A:\n    def messages(self, problem):\n        {body}\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            'return [{"role": "user", "content": "What is it?"}]',
            "expected the question of problem 'a' in the turns word",
        ),
        ("return problem.question", "expected a list of"),
        ("return []", "expected a list of"),
        ('return [{"role": "user"}]', "expected a list of"),
        ('return [{"role": "human", "content": problem.question}]', "expected a role of system, user, assistant"),
        (
            'return [{"role": "user", "content": problem.question}, {"role": "assistant", "content": "So"}]',
            "expected the last turn to be the user's, got the assistant's",
        ),
        ("return problem.answers", "on problem 'a' it raised AttributeError: 'Problem' object has no attribute"),
    ],
)
def test_a_prompt_that_cannot_be_asked_is_refused_in_one_line(written, body, message):
    """Above all one without the question: training on it would be training on noise."""
    name = written(_messages(body), "A")
    with pytest.raises(DoorFailed, match=r"^data.task: .*own\d.py:A: messages: ") as raised:
        turns_of(open_task(name), PROBLEM)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("x = 1\n", "Toy", "has no 'Toy'"),
        ("x = 1\n", "x", "expected any of messages, bare, read, grade, got int with none of them"),
        ("def score(answer): pass\n", "score", "expected a class, an object, or a function named messages"),
        ("class A:\n    def grade(self, answer): pass\n", "A", "expected grade(answer, problem), got grade(answer)"),
        ("class A:\n    grade = 3\n", "A", "expected grade(answer, problem), got 3"),
        ("class A:\n    def __init__(self, x): pass\n", "A", "making A() without arguments raised TypeError"),
        ("raise OSError('gone')\n", "A", "importing it raised OSError: gone"),
        (
            "class A:\n    def grade(self, answer, problem): pass\n    def mesages(self, problem): pass\n",
            "A",
            "mesages is never called, expected messages; rename it",
        ),
    ],
)
def test_what_is_no_task_is_refused_in_one_line(written, text, name, message):
    with pytest.raises(DoorError, match=r"^data.task: ") as raised:
        open_task(written(text, name))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_misspelt_name():
    with pytest.raises(DoorError, match=r"data.task: nowhere.py:A: no such file"):
        open_task("nowhere.py:A")
    with pytest.raises(ValueError, match=r"data.task: expected auto, math, boxed_math, calculator, code, or `package"):
        DataConfig(task="boxed_maths")


GRADES = """
class Raises:
    def grade(self, answer, problem):
        raise KeyError("no such\\nkey")

class String:
    def grade(self, answer, problem):
        return "yes"

class Unknown:
    def grade(self, answer, problem):
        return None

class Slow:
    def grade(self, answer, problem):
        while answer == "12":
            pass
        return True
"""


@pytest.mark.parametrize(
    ("name", "gradable", "status", "refused"),
    [
        ("Raises", False, "grade: KeyError: 'no such\\nkey'", "grade: KeyError: 'no such"),
        (
            "String",
            False,
            "grade: TypeError: expected True, False or None, got 'yes'",
            "grade: TypeError: expected True, False",
        ),
        ("Unknown", False, "ungradable", None),
        ("Slow", True, "timeout", "timeout"),
    ],
)
def test_a_grader_that_fails(written, name, gradable, status, refused):
    """It is masked, a slow one is wrong, and the run is refused before its first step where no answer can be graded."""
    task = open_task(written(GRADES, name))
    with Pool(num_workers=1, timeout_s=0.5) as pool:
        grades = grade_answers(task, _answers("12", None), [PROBLEM, PROBLEM], pool)
        assert grades.correct.tolist() == [False, False]
        assert grades.gradable.tolist() == [gradable, True]
        assert grades.status == [status, "no_answer"]
        if refused is None:
            try_grading(task, [PROBLEM], pool)
        else:
            with pytest.raises(
                DoorError, match=rf"data.task: .*:{name}: on the right answer of problem 'a', {refused}"
            ):
                try_grading(task, [PROBLEM], pool)


def test_a_reader_that_fails_ends_no_run(written):
    """The completion is masked, its whole text is y, and the reason stands in its row."""
    task = open_task(written("class A:\n    def read(self, text):\n        return text.index('#'), 9, None\n", "A"))
    tokenizer = StandIn()
    (ids,) = tokenizer.encode_batch(["abc"])
    found = find_reasoning(ids, tokenizer, task.read)
    assert (found.text, found.trouble) == ("abc", "read: ValueError: substring not found")
    grades = grade_answers(task, [found, *_answers("12")], [PROBLEM, PROBLEM], None)
    assert grades.gradable.tolist() == [False, True]
    assert grades.correct.tolist() == [False, True]
    assert grades.status == ["read: ValueError: substring not found", "ok"]
    (ids,) = tokenizer.encode_batch(["a#c"])
    assert "within" not in find_reasoning(ids, tokenizer, task.read).text
    assert "0 <= start <= end <= 3" in find_reasoning(ids, tokenizer, task.read).trouble


@pytest.mark.parametrize("answer", [3, b"3"])
def test_an_answer_is_a_string(answer):
    tokenizer = StandIn()
    (ids,) = tokenizer.encode_batch(["abc"])
    assert "a string or None" in find_reasoning(ids, tokenizer, lambda text: Span(0, 1, answer)).trouble


def test_own_problems(written):
    """`builtin` is the task's own, where it has some."""
    text = """
from jaxreason.tasks.base import Problem

class Sums:
    def problems(self, split, count, *, seed, levels):
        return [Problem(f"{split}{i}", f"{i}+{seed}", str(i + seed)) for i in range(count)]

class Wrong:
    def problems(self, split, count, *, seed, levels):
        return ["1+1"] * count
"""
    data = DataConfig(task=written(text, "Sums"), seed=2, test_size=3)
    assert [problem.answer for problem in setup.held_out(data)] == ["2", "3", "4"]
    with pytest.raises(DoorError, match=r"Wrong: problems: expected a list of tasks.base.Problem, got \['1\+1'"):
        setup.held_out(DataConfig(task=written(text, "Wrong"), test_size=2))
    with pytest.raises(ValueError, match=r"data.test: expected a file of problems, got builtin, but data.task=math"):
        setup.held_out(DataConfig(train="mine.jsonl"))


def test_labels_are_a_tasks_own_and_of_its_own_problems_alone():
    calculator, tokenizer = open_task("calculator"), StandIn()
    (problem,) = generate(1, seed=0, split="train")
    (ids,) = tokenizer.encode_batch(["hmm let me think\n"])
    found = labels_of(calculator, problem, ids, tokenizer)
    assert found is not None
    assert found.kinds == ["filler"] * len(ids)
    assert labels_of(calculator, PROBLEM, ids, tokenizer) is None
    assert labels_of(Task(), problem, ids, tokenizer) is None


TOY = """
from jaxreason.tasks.base import Problem, Span

class Toy:
    def problems(self, split, count, *, seed, levels):
        return [Problem(f"{split}{i}", f"Say {i % 10}", str(i % 10), meta={"split": split}) for i in range(count)]

    def messages(self, problem):
        return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": problem.question}]

    def read(self, text):
        return Span(0, max(0, len(text) - 1), text[-1:] or None)

    def grade(self, answer, problem):
        return answer.isdigit() if problem.meta["split"] == "train" else answer == problem.answer
"""


def test_a_run_with_a_task_of_fifteen_lines(tmp_path, monkeypatch):
    """Asked, read, graded and recorded as the file says, in training and afterwards."""
    monkeypatch.chdir(tmp_path)
    Path("toy.py").write_text(TOY)
    arguments = [
        "--data.task=toy.py:Toy",
        "--data.train_size=40",
        "--data.test_size=10",
        "--data.max_prompt_length=40",
        "--warmup.max_steps=0",
        "--warmup.drill_steps=0",
        "--tokenizer.vocab_size=300",
        "--grading.num_workers=1",
        "--reward.preset=grpo",
        "--run.log_completions=4",
    ]
    assert runs.train(tmp_path / "run", *arguments, "--run.max_steps=2") == 0
    assert len(runs.rows(tmp_path / "run")) == 2
    rows = [json.loads(line) for file in (tmp_path / "run/samples").iterdir() for line in file.read_text().splitlines()]
    assert len(rows) == 2 * 4 * 4
    for row in rows:
        answer = row["filtered_resps"][0]
        ended = row["finish_reason"] == "stop"
        assert row["exact_match"] == int(ended and answer is not None and answer.isdigit())
        assert row["grader_status"] == ("ok" if answer else "no_answer")
    assert np.unique([row["doc"]["question"] for row in rows]).size > 1
    assert "task: toy.py:Toy" in (tmp_path / "run/config.yaml").read_text()
    (door,) = json.loads((tmp_path / "run/doors.json").read_text())["doors"]
    assert (door["field"], door["name"]) == ("data.task", "Toy")
    # From another folder too, and when the file is gone: the run has its own copy.
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    (tmp_path / "toy.py").rename(tmp_path / "kept.py")
    assert runs.main(["evaluate", str(tmp_path / "run"), "--evaluation.greedy=false"]) == 0
