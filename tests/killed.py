"""`jaxreason` that kills itself inside a phase of a step: python -m tests.killed PHASE PASSED MOMENT train ...

PASSED of these phases go by first. MOMENT, from 0 to 1, is a part of the phase's length: of the last one in this
process, or of FIRST_S where there was none. In a phase that turns out shorter the kill comes as its last act, so it
falls inside the phase on a machine of any speed. It is SIGKILL, from a thread where it can be: nothing of the run is
asked or told.
"""

import os
import signal
import sys
import threading
import time

from jaxreason.agents import episode
from jaxreason.cli import main
from jaxreason.evaluation import loop
from jaxreason.grpo import learner
from jaxreason.run import state as run_state

FIRST_S = 1.0
PHASES = {
    "rollout": (episode, "run"),
    "update": (learner, "learn"),
    "save": (run_state, "try_save"),
    "evaluation": (loop, "evaluate"),
}
"""Name -> the function that is the phase."""


def _kill_inside(phase: str, passed: int, moment: float) -> None:
    place, name = PHASES[phase]
    work, length_s, met = getattr(place, name), FIRST_S, 0

    def watched(*arguments, **named):
        nonlocal length_s, met
        met += 1
        timer = threading.Timer(moment * length_s, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        if met > passed:
            timer.start()
        began = time.monotonic()
        result = work(*arguments, **named)
        if phase == "save":
            arguments[0].wait()  # it goes on in the background until it is committed
        if met > passed:
            os.kill(os.getpid(), signal.SIGKILL)
        length_s = time.monotonic() - began
        return result

    setattr(place, name, watched)


if __name__ == "__main__":
    _kill_inside(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    sys.exit(main(sys.argv[4:]))
