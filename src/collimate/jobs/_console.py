"""What a person at the terminal sees while a job works; on standard error, so that output pipes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column


class Bar:
    """One progress bar; `say` puts numbers beside it."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress, self._task = progress, task

    def advance(self, done: int, note: str | None = None) -> None:
        """`done` more units."""
        if self._progress is None or self._task is None:
            return
        self._progress.update(self._task, advance=done)
        if note is not None:
            self._progress.update(self._task, note=note)


class Console:
    """Lines and bars; silent if asked to be."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self._rich = RichConsole(stderr=True, highlight=False)

    def say(self, line: str) -> None:
        """One line of plain text."""
        if self.enabled:
            self._rich.print(line, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, what: str, total: int | None, done: int = 0) -> Iterator[Bar]:
        """A bar with count and time left, for as long as the context lasts."""
        if not self.enabled:
            yield Bar(None, None)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            # On a narrow terminal the end of the note gives way, and nothing else.
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(ratio=1)),
        )
        with Progress(*columns, console=self._rich, expand=True) as progress:
            task = progress.add_task(what, total=total, completed=done, note="")
            yield Bar(progress, task)
