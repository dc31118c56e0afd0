"""The pool: nothing hangs, nothing is lost, nobody is blamed for the grader's faults."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from jaxreason.grading import pool as pool_module
from jaxreason.grading.pool import Pool, grade_batch

TEN = r"\sum_{k=1}^{4} k"
"""A gold that the rules cannot settle, so that a worker must."""

BOMBS = [
    r"7^{7^{7^{7}}}",
    r"9^{9^9}",
    r"(100000000)!",
    r"99999!!",
    r"\binom{10^9}{5 \cdot 10^8}",
    r"10^{10^{10}}",
    r"2^{2^{2^{2^{2^{2}}}}}",
    r"\frac{9^{9^9}}{9^{9^9}}",
    r"(1+x)^{9^{9^9}}",
    r"(x+y+z+w+1)^{400}",
    r"\sum_{k=1}^{10^{12}} k^k",
    r"\prod_{k=1}^{10^9} k",
    r"\int_0^1 x^{x^{x^x}} dx",
    r"\int \frac{\sin(x^{17}+1)}{x^{19}+x+1} dx",
    r"\lim_{n\to\infty} \frac{n^n}{(n!)^{n}}",
    r"\sqrt[999999999]{2^{999999999}+1}",
    r"\sqrt{1+\sqrt{1+\sqrt{1+\sqrt{1+\sqrt{1+\sqrt{1+\sqrt{1+x}}}}}}}",
    r"\begin{pmatrix}9^{9^9}&1\\1&1\end{pmatrix}^{99}",
    r"\log_{9^{9^9}}(9^{9^9})",
]


@pytest.fixture(scope="module")
def pool():
    with Pool(num_workers=2, timeout_s=2.0) as result:
        yield result


def test_exact_answers_start_no_worker():
    with Pool(num_workers=2) as fresh:
        grades = grade_batch(["1", "2", None, "1+"], ["1", "3", "4", "12"], pool=fresh)
        assert grades.correct.tolist() == [True, False, False, False]
        assert grades.gradable.all()
        assert fresh.workers == []


def test_verdicts_come_back_in_order(pool):
    """A pool that returns in order of completion would shuffle rewards between samples."""
    golds = [rf"\sum_{{k=1}}^{{{4 + i % 3}}} k" for i in range(20)]
    grades = grade_batch(["15"] * 20, golds, pool=pool)
    assert grades.correct.tolist() == [i % 3 == 1 for i in range(20)]


def test_a_bomb_is_wrong_by_timeout_and_takes_nothing_else_with_it(pool):
    start = time.monotonic()
    predictions = [r"\frac{9^{9^9}}{x+9^{9^9}}", "10", "10.0", r"(100000000)! x", r"\frac{20}{2}"]
    grades = grade_batch(predictions, [TEN] * 5, pool=pool)
    assert grades.correct.tolist() == [False, True, True, False, True]
    assert grades.gradable.all()
    assert [s == "timeout" for s in grades.status] == [True, False, False, True, False]
    assert time.monotonic() - start < 20


@pytest.mark.slow
@pytest.mark.parametrize("gold", [TEN, r"\frac12", r"\sqrt{2} x"])
def test_every_known_bomb_ends_and_is_wrong(gold):
    """Answers that hang sympy or take the host's memory. Each is either settled by a rule or ended by the clock."""
    with Pool(num_workers=2, timeout_s=0.4) as fresh:
        grades = grade_batch([*BOMBS, "10" if gold == TEN else gold], [gold] * (len(BOMBS) + 1), pool=fresh)
    assert grades.correct.tolist() == [False] * len(BOMBS) + [True]
    assert grades.gradable[-1]


def test_equal_pairs_are_graded_once(pool):
    """A group of rollouts mostly repeats one answer; a bomb said eight times must cost one timeout."""
    before = time.monotonic()
    grades = grade_batch([r"x + 9^{9^9}"] * 8, [TEN] * 8, pool=pool)
    assert grades.status == ["timeout"] * 8
    assert time.monotonic() - before < 8 * pool.timeout_s


def test_a_worker_that_was_killed_is_replaced_and_its_answer_is_tried_again(pool):
    grade_batch(["10"], [TEN], pool=pool)
    for worker in pool.workers:
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
    grades = grade_batch(["10.00"], [TEN], pool=pool)
    assert grades.correct.tolist() == [True]


def test_questions_reach_the_rules_in_both_places(pool):
    """A percentage is decided by the question, in this process and in a worker."""
    grades = grade_batch(
        ["50\\%", "50\\%"], ["50", "50"], questions=["What percentage is it?", "How many are there?"], pool=pool
    )
    assert grades.correct.tolist() == [True, False]
    verdicts = pool.verify(
        [("50\\%", "50", "What percentage is it?"), ("50\\%", "50", "How many are there?"), ("5", "5")]
    )
    assert [v.outcome for v in verdicts] == ["right", "wrong", "right"]


def test_a_gold_that_cannot_be_read_is_not_gradable(pool):
    grades = grade_batch(["0.5"], [r"\frac{1}{"], pool=pool)
    assert grades.gradable.tolist() == [False]
    assert grades.correct.tolist() == [False]


def test_an_answer_that_crashes_two_workers_is_not_gradable(monkeypatch):
    """And the answers around it keep their verdicts."""
    original = pool_module._Worker.send

    def send(self, task, pair, timeout_s):
        if pair[0] == "20/2":
            self.process.kill()
            self.process.wait()
        original(self, task, pair, timeout_s)

    monkeypatch.setattr(pool_module._Worker, "send", send)
    with Pool(num_workers=1, timeout_s=5.0) as fresh:
        grades = grade_batch(["10", "20/2", "30/3"], [TEN] * 3, pool=fresh)
    assert grades.gradable.tolist() == [True, False, True]
    assert grades.correct.tolist() == [True, False, True]
    assert grades.status[1] == "crash"


def test_a_grader_that_cannot_start_masks_instead_of_hanging(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Pool(num_workers=2) as fresh:
        grades = grade_batch(["10", "11"], [TEN] * 2, pool=fresh)
    assert not grades.gradable.any()
    assert grades.status == ["no_worker"] * 2


def test_workers_are_replaced_after_their_share(monkeypatch):
    monkeypatch.setattr(pool_module, "MAX_TASKS", 2)
    with Pool(num_workers=1, timeout_s=5.0) as fresh:
        grades = grade_batch([f"{10 * i}/{i}" for i in range(1, 6)], [TEN] * 5, pool=fresh)
        assert grades.correct.all()
        assert fresh.workers[0].tasks == 1


def test_a_worker_holds_no_jax_and_is_limited(pool):
    """jax in a worker would claim the accelerator; without RLIMIT_AS one answer can take the host's memory."""
    grade_batch(["10"], [TEN], pool=pool)
    pid = pool.workers[0].process.pid
    with open(f"/proc/{pid}/maps") as maps:
        assert "jaxlib" not in maps.read()
    with open(f"/proc/{pid}/limits") as limits:
        rows = {line[:25].strip(): line[25:].split() for line in limits}
    assert rows["Max address space"][0] == str(2 * 2**30)
    assert rows["Max core file size"][0] == "0"


def test_without_workers_only_exact_answers_count():
    grades = grade_batch(["10", "3"], [TEN, "3"], pool=Pool(num_workers=0))
    assert grades.correct.tolist() == [False, True]
    assert grades.status == ["exact_only", "ok"]


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="golds: expected one for each of the 2 predictions, got 1"):
        grade_batch(["1", "2"], ["1"])
    with pytest.raises(ValueError, match="questions: expected one for each of the 2 predictions, got 1"):
        grade_batch(["1", "2"], ["1", "2"], questions=["?"])


@pytest.mark.parametrize("arguments", [{"num_workers": -1}, {"timeout_s": 0.0}])
def test_numbers_out_of_range_name_their_config_field(arguments):
    with pytest.raises(ValueError, match=r"grading\.(num_workers|timeout_s): expected"):
        Pool(**arguments)


def test_workers_end_with_a_parent_that_was_killed(tmp_path):
    """Also one that is busy: kill -9 gives the parent no chance to clean up."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import threading, time
        from jaxreason.grading.pool import Pool
        from jaxreason.grading import worker
        pool = Pool(num_workers=2, timeout_s=1.0)
        pool.verify([(r"x", r"\\int 1 dx"), (r"2x", r"\\int 2 dx")])
        pool.timeout_s = 1.0
        print(*[w.process.pid for w in pool.workers], flush=True)
        pool.workers[0].send(0, (r"x + 9^{9^9}", r"\\int x dx"), 0.1 - worker.ALARM_GRACE_S + 1.0)
        time.sleep(60)
        """)
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    deadline = time.monotonic() + 10
    while (alive := [pid for pid in pids if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
