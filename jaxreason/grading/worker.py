"""One grading process: a JSON line in, a JSON line out, until its input closes. Started by `pool`, imports no jax.

Every limit that a hostile answer could need is set here: memory, recursion, core dumps, and an alarm that the kernel
delivers even while one big-integer operation holds the interpreter and even after the parent has been killed.
"""

import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable

from jaxreason.grading import baselines, clock, verdicts

MEMORY_BYTES = 2 * 2**30
RECURSION_LIMIT = 3000
ALARM_GRACE_S = 5.0
"""How long after the parent's own time limit the alarm ends this process: only if the parent no longer can."""

JUDGES = {"symbolic": verdicts, "math_verify_alone": baselines}
"""Function that may be asked for -> its module. A judge beyond these is spelled `module:maker argument`: what the maker
returns for the argument is called instead, and is made before a clock runs."""


def main() -> None:
    """Serve until the parent closes the pipe."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.setrecursionlimit(RECURSION_LIMIT)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # Whatever a library prints must not reach the pipe that carries the verdicts.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    verdicts.symbolic("\\int x dx", "\\int 2x dx")  # sympy's first answer costs 0.1 to 0.3 s: paid before a clock runs
    _send(replies, {"ready": True, "jax": "jax" in sys.modules})
    judges: dict[str, Callable] = {name: getattr(module, name) for name, module in JUDGES.items()}
    for line in sys.stdin:
        timeout_s, judge, *task = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, timeout_s + ALARM_GRACE_S)
        if judge not in judges:
            judges[judge] = _made(judge)
            signal.setitimer(signal.ITIMER_REAL, 0)
            _send(replies, {"ready": True})
            continue
        clock.start(timeout_s)
        verdict = judges[judge](*task)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(replies, {"outcome": verdict.outcome, "grader": verdict.grader, "status": verdict.status})


def _made(judge: str) -> Callable:
    """The judge of that spelling; one that cannot be made says so of every answer."""
    maker, _, argument = judge.partition(" ")
    module, _, name = maker.partition(":")
    try:
        return getattr(importlib.import_module(module), name)(argument)
    except Exception as error:  # of a user's own code
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return lambda *_: verdicts.Verdict("error", "none", reason)


def _send(replies, message: dict) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
