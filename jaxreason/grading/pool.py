"""Grading a batch: rules here, math-verify in worker processes that are killed when they take too long.

Workers are fresh interpreters (no fork, so nothing of JAX's threads or devices is inherited), start when the first
answer needs one, and are replaced after MAX_TASKS answers, since sympy's caches only grow. Who pays for what:

    timeout                        the answer: wrong, status "timeout" (else a bomb would be a way out of a zero)
    crash or exception, twice      the grader: not gradable, the sample is masked and counted
    gold that cannot be read       the data: not gradable
"""

import collections
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxreason.grading.verdicts import Verdict, quick
from jaxreason.grading.worker import JUDGES

MAX_TASKS = 2000
START_TIMEOUT_S = 60.0
TIMEOUT = Verdict("wrong", "math_verify", "timeout")

Task = tuple[str | None, Any] | tuple[str | None, Any, str]
"""Prediction, gold and, where it is known, the question."""


class Grades(NamedTuple):
    """Verdicts of N answers. A row that is not gradable is to be masked; its `correct` is False."""

    correct: np.ndarray  # bool [N]
    gradable: np.ndarray  # bool [N]
    status: list[str]  # N short reasons, "ok" where nothing was odd


def grade_batch(
    predictions: Sequence[str | None],
    golds: Sequence[str],
    *,
    questions: Sequence[str] | None = None,
    pool: "Pool | None" = None,
) -> Grades:
    """Grade N answers; equal ones are graded once.

    Args:
      predictions: extracted answers, None where there was none.
      golds: right answers, as long as predictions.
      questions: what was asked, as long as predictions; a few rules look at it (`verdicts.grade`).
      pool: for answers that need algebra beyond the rules. None, or a pool of no workers: such answers are wrong,
        status "exact_only".

    Raises:
      ValueError: predictions, golds and questions differ in length.
    """
    if len(predictions) != len(golds):
        raise ValueError(f"golds: expected one for each of the {len(predictions)} predictions, got {len(golds)}")
    if questions is None:
        questions = [""] * len(golds)
    if len(predictions) != len(questions):
        raise ValueError(
            f"questions: expected one for each of the {len(predictions)} predictions, got {len(questions)}"
        )
    tasks = list(zip(predictions, golds, questions, strict=True))
    verdicts: dict[tuple[str | None, str, str], Verdict] = {}
    unsure: list[tuple[str, str, str]] = []
    for prediction, gold, question in dict.fromkeys(tasks):
        verdict = quick(prediction, gold, question)
        if verdict is not None:
            verdicts[prediction, gold, question] = verdict
        elif prediction is not None:
            unsure.append((prediction, gold, question))
    if pool is None or pool.num_workers == 0:
        verdicts.update({task: Verdict("wrong", "rules", "exact_only") for task in unsure})
    else:
        verdicts.update(zip(unsure, pool.verify(unsure), strict=True))
    found = [verdicts[task] for task in tasks]
    return Grades(
        correct=np.array([v.outcome == "right" for v in found], dtype=bool),
        gradable=np.array([v.outcome != "error" for v in found], dtype=bool),
        status=[v.status for v in found],
    )


class Pool:
    """Worker processes for `symbolic` grading. A context manager; also safe to leave open, for workers end with us."""

    def __init__(self, num_workers: int = 1, timeout_s: float = 3.0):
        """Start nothing yet.

        Args:
          num_workers: processes; 0 for a pool that is never asked.
          timeout_s: wall-clock seconds for one answer, above 0.

        Raises:
          ValueError: a number out of range.
        """
        if num_workers < 0:
            raise ValueError(f"grading.num_workers: expected at least 0, got {num_workers}")
        if not timeout_s > 0:
            raise ValueError(f"grading.timeout_s: expected above 0, got {timeout_s}")
        self.num_workers = num_workers
        self.timeout_s = timeout_s
        self.workers: list[_Worker] = []

    def verify(self, pairs: Sequence[Task], judge: str = "symbolic") -> list[Verdict]:
        """Grade in workers, in order; every one gets a verdict in bounded time.

        Args:
          pairs: what JSON can hold.
          judge: a name of `worker.JUDGES`, or another judge as spelled there, whose gold may be anything.
        """
        if pairs and self.num_workers == 0:
            raise ValueError("grading.num_workers: expected at least 1 for answers that need algebra, got 0")
        verdicts: list[Verdict | None] = [None] * len(pairs)
        waiting = collections.deque(range(len(pairs)))
        failures = [0] * len(pairs)
        failed_starts = 0
        while waiting or any(w.task is not None for w in self.workers):
            self._hand_out(waiting, pairs, judge)
            for worker in self._wait():
                task, message = worker.task, worker.read()
                if message == "starting":
                    continue
                if message == "ready":
                    failed_starts = 0
                elif task is None:
                    failed_starts += 1
                elif isinstance(message, Verdict) and message.outcome != "error":
                    verdicts[task] = message
                elif message == "timeout":
                    verdicts[task] = TIMEOUT
                else:
                    failures[task] += 1
                    error = message if isinstance(message, Verdict) else Verdict("error", "math_verify", "crash")
                    # A gold that cannot be read will not become readable, nor a task's own code right.
                    if failures[task] == 2 or error.status == "bad_gold" or error.grader == "none":
                        verdicts[task] = error
                    else:
                        waiting.append(task)
                if worker.done:
                    self.workers.remove(worker)
            if failed_starts >= 2:
                self.close()
                return [v or Verdict("error", "math_verify", "no_worker") for v in verdicts]
        return [v for v in verdicts if v is not None]

    def close(self) -> None:
        """End all workers at once; a later `verify` starts new ones."""
        for worker in self.workers:
            worker.kill()
        self.workers = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hand_out(self, waiting: collections.deque[int], pairs: Sequence[Task], judge: str) -> None:
        busy = sum(not w.idle for w in self.workers)
        while len(self.workers) < min(self.num_workers, busy + len(waiting)):
            self.workers.append(_Worker())
        for worker in self.workers:
            if waiting and worker.idle:
                if judge not in worker.judges:
                    worker.prepare(judge)
                    continue
                task = waiting.popleft()
                worker.judge = judge
                worker.send(task, pairs[task], self.timeout_s)

    def _wait(self) -> list["_Worker"]:
        """Workers that have something to say or have run out of time."""
        busy = [w for w in self.workers if not w.idle]
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                selector.register(worker.output, selectors.EVENT_READ, worker)
            left = min(w.deadline for w in busy) - time.monotonic()
            speaking = [key.data for key, _ in selector.select(max(left, 0.0))]
        now = time.monotonic()
        return speaking + [w for w in busy if w not in speaking and w.deadline <= now]


class _Worker:
    """One process and what it is doing: starting, idle, at a task, or done (ended, or to be ended)."""

    def __init__(self):
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jaxreason.grading.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # nothing is left to flush into a dead one
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        assert self.process.stdin is not None  # a pipe was asked for
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        self.buffer = b""
        self.ready = self.done = False
        self.tasks = 0
        self.task: int | None = None
        self.judge = "symbolic"
        self.judges = set(JUDGES)  # those it has made
        self.deadline = time.monotonic() + START_TIMEOUT_S

    @property
    def idle(self) -> bool:
        return self.ready and self.task is None and not self.done

    def send(self, task: int, pair: Task, timeout_s: float) -> None:
        self.task = task
        self.tasks += 1
        self.deadline = time.monotonic() + timeout_s
        self._write([timeout_s, self.judge, *pair])

    def prepare(self, judge: str) -> None:
        """Let it make a judge: what that takes, such as imports, is paid for by no answer."""
        self.judges.add(judge)
        self.ready = False
        self.deadline = time.monotonic() + START_TIMEOUT_S
        self._write([START_TIMEOUT_S, judge, None, None])

    def _write(self, message: list) -> None:
        line = memoryview((json.dumps(message) + "\n").encode())
        try:
            while line:
                line = line[self.input.write(line) or 0 :]
        except BrokenPipeError:
            pass  # it died while idle; its closed output says so in `read`

    def read(self) -> Verdict | str:
        """What happened: a verdict, "ready", "starting" (half a line so far), "timeout" or "crash"."""
        if time.monotonic() >= self.deadline and not self._readable():
            starting = not self.ready
            self.kill()
            return "crash" if starting else "timeout"
        data = os.read(self.output.fileno(), 65536)
        self.buffer += data
        if not data:
            self.kill()
            return "crash"
        if not self.buffer.endswith(b"\n"):
            return "starting"
        message, self.buffer = json.loads(self.buffer), b""
        if not self.ready:
            self.ready = True
            return "ready"
        self.task = None
        if self.tasks >= MAX_TASKS:
            self.kill()
        return Verdict(**message)

    def _readable(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self.output, selectors.EVENT_READ)
            return bool(selector.select(0))

    def kill(self) -> None:
        self.done = True
        self.task = None
        self.process.kill()
        self.process.wait()
        self.input.close()
        self.output.close()
