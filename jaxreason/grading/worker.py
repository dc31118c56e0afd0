"""One grading process: a JSON line in, a JSON line out, until its input closes. Started by `pool`, imports no jax.

Every limit that a hostile answer could need is set here: memory, recursion, core dumps, and an alarm that the kernel
delivers even while one big-integer operation holds the interpreter and even after the parent has been killed.
"""

import json
import os
import resource
import signal
import sys

from jaxreason.grading import verdicts

MEMORY_BYTES = 2 * 2**30
RECURSION_LIMIT = 3000
ALARM_GRACE_S = 5.0
"""How long after the parent's own time limit the alarm ends this process: only if the parent no longer can."""


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
    for line in sys.stdin:
        timeout_s, prediction, gold, *question = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, timeout_s + ALARM_GRACE_S)
        verdict = verdicts.symbolic(prediction, gold, *question)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(replies, {"outcome": verdict.outcome, "grader": verdict.grader, "status": verdict.status})


def _send(replies, message: dict) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
