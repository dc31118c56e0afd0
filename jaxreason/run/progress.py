"""What a person sees while something long runs: bars on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SILENT_S = 60
"""The longest that nothing is said of what goes on."""


class Display:
    """Prints and draws for process 0; a quiet one says nothing."""

    def __init__(self, *, quiet: bool = False, every: int = 1):
        self.console = Console(quiet=quiet, highlight=False, soft_wrap=True, file=sys.stdout)
        self.every = every

    def say(self, line: str) -> None:
        """One line."""
        self.console.print(line, markup=False)

    def warn(self, line: str) -> None:
        """One line that should be seen."""
        self.console.print(f"warning: {line}", style="yellow", markup=False)

    @contextlib.contextmanager
    def bar(self, title: str, total: int, *, done: int = 0, every: int | None = None) -> Iterator[Callable[..., None]]:
        """A progress bar; yields step(n=1, note=""), which moves it on by n and shows the note behind it.

        Without a terminal, a line every `every` steps, at the end, and whenever none came for a minute; `every` 0: no
        other lines.
        """
        every = self.every if every is None else every
        if not self.console.is_terminal:
            yield self._lines(title, total, done, every)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task(title, total=total, completed=done, note="")

            def step(n: int = 1, note: str | None = None) -> None:
                extra: dict[str, Any] = {} if note is None else {"note": note}
                progress.update(task, advance=n, **extra)

            yield step

    def _lines(self, title: str, total: int, done: int, every: int) -> Callable[..., None]:
        start, first, at = time.monotonic(), done, done
        told = start

        def step(n: int = 1, note: str | None = None) -> None:
            nonlocal at, told
            before, at = at, at + n
            silent = time.monotonic() - told >= SILENT_S
            if (n and at >= total) or silent or (every and at // every > before // every):
                told = time.monotonic()
                spent = time.monotonic() - start
                left = f", {spent / (at - first) * (total - at):.0f}s left" if at > first else ""
                self.say(f"{title} {at}/{total}  {spent:.0f}s{left}  {note or ''}".rstrip())

        return step
