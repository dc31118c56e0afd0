"""Ctrl-C and SIGTERM as a question that a loop asks, so that it stops where it can save."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")
CTRL_C = 130
"""Exit code of what Ctrl-C ended: 128 + SIGINT."""
POLL_S = 0.05
"""The longest a signal goes unnoticed while a device works."""


class Interrupt:
    """A context manager under which the first signal is noted and a second Ctrl-C stops at once.

    Of several processes, one that gets a signal tells the others where they all `check`, so that they stop together.
    """

    def __init__(self, gather: Callable[[int], list[int]] = lambda number: [number]):
        """Note nothing yet.

        Args:
          gather: passes a number on to all processes, and returns all of theirs.
        """
        self.signal: Any = None  # signal.Signals, once one came
        self._gather = gather
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        except ValueError:
            # Only the main thread may set handlers; elsewhere (a notebook's thread) signals keep their meaning.
            pass
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    def check(self) -> None:
        """Raise Abandoned once a signal came to any of the processes, all of which must ask."""
        if self.noticed():
            raise Abandoned

    def noticed(self) -> bool:
        """Whether a signal came to any of the processes, all of which must ask."""
        numbers = self._gather(0 if self.signal is None else int(self.signal))
        if self.signal is None and any(numbers):
            self.signal = signal.Signals(max(numbers))
        return any(numbers)

    def stopped(self, where: str) -> "Stopped":
        """What to raise when the run is saved."""
        said = f"{self.signal.name}: stopped {where} and saved; the same command goes on from there"
        return Stopped(said, self.exit_code)

    def wait(self, arrays: T) -> T:
        """`jax.block_until_ready` that a signal ends; what the device was making is then thrown away.

        The processes of a run of several cannot give up each by itself: there this only blocks.

        Raises:
          Abandoned: a signal came before the arrays were ready.
        """
        import jax

        if jax.process_count() == 1:
            leaves: list[Any] = [x for x in jax.tree.leaves(arrays) if isinstance(x, jax.Array)]
            pause_s = 0.001
            while not all(leaf.is_ready() for leaf in leaves):
                self._check_mine()
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, POLL_S)
            self._check_mine()
        return jax.block_until_ready(arrays)

    def _check_mine(self) -> None:
        if self:
            raise Abandoned

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that ended by this signal."""
        return 0 if self.signal is None else 128 + int(self.signal)


class Abandoned(Exception):
    """A step or an evaluation was given up half-way for a signal; nothing of it counts."""


class Stopped(Exception):
    """The run was interrupted and saved; `exit_code` is for the shell."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code
