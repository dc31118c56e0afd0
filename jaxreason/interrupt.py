"""Ctrl-C and SIGTERM as a question that a loop asks, so that it stops where it can save."""

import signal
from types import FrameType
from typing import Any


class Interrupt:
    """A context manager under which the first signal is noted and a second Ctrl-C stops at once."""

    def __init__(self):
        self.signal: Any = None  # signal.Signals, once one came
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

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that ended by this signal."""
        return 0 if self.signal is None else 128 + int(self.signal)


class Stopped(Exception):
    """The run was interrupted and saved; `exit_code` is for the shell."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code
