"""A user's own reward functions: what they are given, what they may return, and what is said when they fail."""

import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from jaxreason.config import RewardConfig
from jaxreason.config.doors import DoorError, DoorFailed
from jaxreason.rewards import functions
from jaxreason.rewards.functions import Batch, TrainerState

COLUMNS = ("id", "question", "answer", "source", "level")
STATE = TrainerState(global_step=3, max_steps=10, epoch=0.5)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file of functions into the working directory; every test has a directory, so a file, of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str, file: str = "mine.py") -> str:
        Path(file).write_text(textwrap.dedent(text))
        return file

    return write


def _batch(N: int = 4) -> Batch:
    return Batch(
        prompts=[f"What is {n}?" for n in range(N)],
        completions=["x" * n for n in range(N)],
        completion_ids=[list(range(n)) for n in range(N)],
        columns={"id": [f"p{n // 2}" for n in range(N)], "level": [n // 2 for n in range(N)]},
    )


def _load(*names: str, **fields):
    return functions.load(RewardConfig(reward_funcs=names, **fields), COLUMNS)


def _call(*names: str, timeout_s: float = 20.0, batch: Batch | None = None, **named) -> functions.Values:
    return functions.call(_load(*names), batch or _batch(), STATE, timeout_s=timeout_s, **named)


def test_a_function_gets_what_trl_gives_it(write):
    """By TRL's names, all of it, every column repeated for the completions."""
    write("""
        def check(prompts, completions, completion_ids, trainer_state, log_metric, log_extra, **columns):
            assert prompts == ["What is 0?", "What is 1?", "What is 2?", "What is 3?"]
            assert completions == ["", "x", "xx", "xxx"]
            assert completion_ids == [[], [0], [0, 1], [0, 1, 2]]
            assert (trainer_state.global_step, trainer_state.max_steps, trainer_state.epoch) == (3, 10, 0.5)
            assert columns == {"id": ["p0", "p0", "p1", "p1"], "level": [0, 0, 1, 1]}
            log_extra("first", [text[:1] for text in completions])
            log_metric("share", 0.25)
            log_metric("share", 0.75)
            return [float(len(text)) for text in completions]
    """)
    found = _call("mine.py:check")
    np.testing.assert_array_equal(found.value_FN, [[0, 1, 2, 3]])
    assert found.value_FN.dtype == np.float32
    assert found.applies_FN.all()
    assert found.extras == {"first": ["", "x", "x", "x"]}
    assert found.metrics == {
        "rewards/share": 0.5,
        "rewards/check/mean": 1.5,
        "rewards/check/std": pytest.approx(np.std([0, 1, 2, 3], ddof=1)),
    }


def test_a_function_without_keywords_gets_what_it_names(write):
    write("""
        def by_text(completions, *, level, scale=2.0):
            return [scale * number for number in level]
        class Callable:
            def __call__(self, completion_ids): return [len(ids) for ids in completion_ids]
        by_instance = Callable()
        by_lambda = lambda completions, **_: [True] * len(completions)
    """)
    found = _call("mine.py:by_text", "mine.py:by_instance", "mine.py:by_lambda")
    np.testing.assert_array_equal(found.value_FN, [[0, 0, 2, 2], [0, 1, 2, 3], [1, 1, 1, 1]])
    assert {"rewards/by_text/mean", "rewards/by_instance/mean", "rewards/by_lambda/mean"} <= found.metrics.keys()


def test_conversations_reach_a_function_as_messages(write):
    """As a function for TRL's conversational format reads them."""
    write("""
        import re
        def format_reward(completions, **kwargs):
            contents = [completion[0]["content"] for completion in completions]
            return [1.0 if re.match(r"<think>.*</think>", text, re.DOTALL) else 0.0 for text in contents]
    """)
    texts = ["<think>a\nb</think> 4", "4"]
    batch = Batch(
        prompts=[[{"role": "user", "content": "2+2?"}]] * 2,
        completions=[[{"role": "assistant", "content": text}] for text in texts],
        completion_ids=[[1], [2]],
        columns={},
    )
    np.testing.assert_array_equal(_call("mine.py:format_reward", batch=batch).value_FN, [[1, 0]])


def test_none_does_not_apply_and_arrays_are_taken(write):
    write("""
        import numpy
        def some(completions, level, **kwargs): return [None if number else 5 for number in level]
        def none(completions, **kwargs): return [None] * len(completions)
        def array(completions, **kwargs): return numpy.arange(len(completions)) / 2
        def numbers(completions, **kwargs): return tuple(numpy.float32(0.5) for _ in completions)
    """)
    found = _call("mine.py:some", "mine.py:none", "mine.py:array", "mine.py:numbers")
    np.testing.assert_array_equal(found.value_FN, [[5, 5, 0, 0], [0] * 4, [0, 0.5, 1, 1.5], [0.5] * 4])
    np.testing.assert_array_equal(found.applies_FN, [[1, 1, 0, 0], [0] * 4, [1] * 4, [1] * 4])
    assert (found.metrics["rewards/some/mean"], found.metrics["rewards/some/std"]) == (5, 0)
    assert (found.metrics["rewards/none/mean"], found.metrics["rewards/none/std"]) == (None, None)


def test_asynchronous_functions_run_together(write):
    """Two that wait for each other end only if both are under way; and a plain one may run a loop of its own."""
    write("""
        import asyncio
        waiting = {}
        async def _meet(name, other, count):
            waiting.setdefault("events", {n: asyncio.Event() for n in ("first", "second")})
            waiting["events"][name].set()
            await waiting["events"][other].wait()
            return [float(len(name))] * count
        async def first(completions, **kwargs): return await _meet("first", "second", len(completions))
        async def second(completions, **kwargs): return await _meet("second", "first", len(completions))
        def plain(completions, **kwargs):
            async def value(): return 1.0
            return [asyncio.run(value()) for _ in completions]
        def late(completions, **kwargs):
            async def value(): return [2.0] * len(completions)
            return value()
    """)
    found = _call("mine.py:plain", "mine.py:first", "mine.py:late", "mine.py:second")
    np.testing.assert_array_equal(found.value_FN, [[1] * 4, [5] * 4, [2] * 4, [6] * 4])


def test_what_one_function_does_to_its_lists_no_other_sees(write):
    write("""
        def empties(completions, completion_ids, level, **kwargs):
            count = len(completions)
            completions.clear(); level.clear(); completion_ids[-1].clear()
            return [0] * count
        def counts(completions, completion_ids, level, **kwargs):
            return [len(completions) + len(level) + len(completion_ids[-1])] * 4
    """)
    batch = _batch()
    np.testing.assert_array_equal(_call("mine.py:empties", "mine.py:counts", batch=batch).value_FN[1], [11] * 4)
    assert batch == _batch()


def test_two_functions_of_one_name_are_told_apart_by_their_files(write):
    for file in ("one.py", "two.py"):
        write("def length(completions, **kwargs): return [1] * len(completions)", file)
    assert [f.name for f in _load("one.py:length", "two.py:length")] == ["one.length", "two.length"]
    with pytest.raises(DoorError, match="length is named twice, expected each function once"):
        _load("one.py:length", "./one.py:length")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f = 3", "mine.py:f is no function, got int"),
        ("def f(completions, /): pass", "mine.py:f takes 'completions' by position only, expected keyword arguments"),
        ("def f(completions, solution, **k): pass", "mine.py:f needs 'solution', which is neither given nor a column"),
        ("def f(completion): pass", "mine.py:f needs 'completion', which is neither given nor a column"),
        ("def g(completions): pass", "mine.py has no 'f'"),
        ("import nowhere_to_be_found", "importing it raised ModuleNotFoundError"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_before_the_first_step(write, text, expected):
    write(text)
    with pytest.raises(DoorError) as refused:
        _load("mine.py:f")
    assert not isinstance(refused.value, DoorFailed)
    assert str(refused.value).startswith("reward.reward_funcs: ")
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "got"),
    [
        ("return [1.0] * 3", "3 values"),
        ("return [1.0] * 5", "5 values"),
        ("return []", "0 values"),
        ("return 1.0", "1.0"),
        ("return None", "None"),
        ("return 'aaaa'", "'aaaa'"),
        ("return {i: 1.0 for i in range(4)}", "{0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}"),
        ("return (1.0 for _ in completions)", "<generator object"),
        ("return [0, 0, float('nan'), 0]", "nan for completion 2"),
        ("return [0, float('-inf'), 0, 0]", "-inf for completion 1"),
        ("return [0, 0, 0, 1e39]", "1e+39 for completion 3"),
        ("return ['1', 0, 0, 0]", "'1' for completion 0"),
        ("return [0, [1.0], 0, 0]", "[1.0] for completion 1"),
        ("return [0, 10 ** 400, 0, 0]", "1000"),
        ("import numpy; return numpy.ones((4, 1))", "[1.0] for completion 0"),
        ("import numpy; return numpy.float32(1)", "1.0"),
    ],
)
def test_anything_but_a_number_a_completion_is_refused_in_a_line(write, body, got):
    """Catches a NaN or a string that would reach the loss, and values that numpy would broadcast to other rows."""
    write(f"def f(completions, **kwargs):\n    {body}\n")
    with pytest.raises(DoorFailed) as refused:
        _call("mine.py:f")
    line = str(refused.value)
    assert line.startswith(f"reward.reward_funcs: mine.py:f returned {got}")
    assert line.endswith("expected a list of 4, a finite number or None for each completion")
    assert "\n" not in line


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_function_that_raises_shows_the_users_own_frames(write, kind):
    write(f"""
        def deeper(text):
            return int(text)
        {kind} f(completions, **kwargs):
            return [deeper(text) for text in completions]
    """)
    with pytest.raises(DoorFailed) as refused:
        _call("mine.py:f")
    assert str(refused.value) == (
        "reward.reward_funcs: mine.py:f raised ValueError: invalid literal for int() with base 10: ''"
    )
    frames = refused.value.traceback
    assert "return int(text)" in frames
    assert "return [deeper(text) for text in completions]" in frames
    assert "functions.py" not in frames


@pytest.mark.parametrize("body", ["import sys; sys.exit(3)", "raise KeyboardInterrupt"])
def test_a_function_that_would_leave_the_program_only_fails(write, body):
    write(f"def f(completions, **kwargs):\n    {body}\n")
    with pytest.raises(DoorFailed, match=r"mine.py:f raised (SystemExit: 3|KeyboardInterrupt)"):
        _call("mine.py:f")


def test_a_wrong_extra_is_the_functions_mistake(write):
    write("""
        def f(completions, log_extra, **kwargs):
            log_extra("lengths", [1, 2])
            return [0] * len(completions)
    """)
    with pytest.raises(DoorFailed, match=r"raised ValueError: log_extra\('lengths'\): expected 4 values, one a compl"):
        _call("mine.py:f")


@pytest.mark.parametrize(
    "text",
    [
        "import time\ndef slow(completions, **kwargs): time.sleep(20)",
        "import asyncio\nasync def slow(completions, **kwargs): await asyncio.sleep(20)",
        "import time\nasync def slow(completions, **kwargs): time.sleep(20)",
    ],
    ids=["plain", "async", "async that blocks"],
)
def test_a_function_that_takes_too_long_is_given_up(write, text):
    write(f"{text}\nasync def quick(completions, **kwargs): return [0] * len(completions)\n")
    began = time.monotonic()
    with pytest.raises(DoorFailed, match=r"mine.py:slow took longer than reward.reward_timeout_s=0.3 seconds"):
        _call("mine.py:quick", "mine.py:slow", timeout_s=0.3)
    assert time.monotonic() - began < 10


def test_who_waits_can_give_up(write):
    """Ctrl-C during a slow function is heeded at once."""

    class GivenUp(Exception):
        pass

    def wait():
        raise GivenUp

    write("import time\ndef slow(completions, **kwargs): time.sleep(20)")
    with pytest.raises(GivenUp):
        _call("mine.py:slow", wait=wait)


def test_values_add_up_by_their_weights_where_they_apply():
    value_FN = np.array([[1, 2, 3, 4], [10, 20, 30, 40]], np.float32)
    applies_FN = np.array([[True, True, False, False], [True, False, True, False]])
    sum_N, any_N = functions.combine(value_FN, applies_FN, (0.5, 2.0))
    np.testing.assert_array_equal(sum_N, [0.5 * 1 + 2 * 10, 0.5 * 2, 2 * 30, 0])
    np.testing.assert_array_equal(any_N, [True, True, True, False])
    assert (sum_N.dtype, any_N.dtype) == (np.float32, np.bool_)
    np.testing.assert_array_equal(functions.combine(value_FN, applies_FN)[0], [11, 2, 30, 0])


def test_a_function_that_does_not_apply_never_reaches_the_sum():
    """A NaN where a function does not apply would otherwise be 0 x NaN."""
    value_FN = np.array([[np.nan, 1]], np.float32)
    sum_N, _ = functions.combine(value_FN, np.array([[False, True]]))
    np.testing.assert_array_equal(sum_N, [0, 1])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"reward_funcs": ("length",)}, "reward.reward_funcs: expected each `package.module:name`"),
        ({"reward_funcs": ("a.py:f", "a.py:f")}, "reward.reward_funcs: expected each function once"),
        ({"reward_funcs": ("a.py:f",), "reward_weights": (1.0, 2.0)}, "as many as reward.reward_funcs, 1, got"),
        ({"reward_weights": (1.0,)}, "as many as reward.reward_funcs, 0, got"),
        ({"reward_funcs": ("a.py:f",), "reward_weights": (float("nan"),)}, "expected finite numbers"),
        ({"outcome_weight": 0.0}, "reward.outcome_weight: expected above 0 without reward.reward_funcs"),
        ({"outcome_weight": -1.0, "reward_funcs": ("a.py:f",)}, "reward.outcome_weight: expected a number of at least"),
        ({"reward_timeout_s": 0.0}, "reward.reward_timeout_s: expected above 0"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields, expected):
    with pytest.raises(ValueError) as refused:
        RewardConfig(**fields)
    assert expected in str(refused.value)


def test_functions_start_no_jax():
    import subprocess

    code = "import sys, jaxreason.rewards.functions; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
