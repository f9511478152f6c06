"""Show how far long work is: on a terminal a bar, elsewhere a line now and then."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from ray_apps.commands.lines import PIPED_WIDTH

LOOK_S = 0.25
LINE_S = 10.0
"""Between lines where the output is no terminal."""


class Meter:
    """Shows work until it ends.

    Parameters
    ----------
    share
        How much is done, 0 to 1.
    state
        One line on how far it is.
    """

    def __init__(self, share: Callable[[], float], state: Callable[[], str]) -> None:
        self._share = share
        self._state = state
        self._bar: tuple[Progress, TaskID] | None = None
        self._line_s = time.monotonic()

    async def watch(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, showing how far it is."""
        task = asyncio.create_task(work)
        try:
            with self._shown():
                while not task.done():
                    await asyncio.wait({task}, timeout=LOOK_S)
                    self._look()
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        if not sys.stderr.isatty():
            yield
            return
        columns = (BarColumn(40), TextColumn("{task.percentage:5.1f} %"), TextColumn("{task.description}"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            self._bar = progress, progress.add_task(self._state(), total=1.0)
            yield
        self._bar = None

    def _look(self) -> None:
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, completed=self._share(), description=self._state())
        elif time.monotonic() - self._line_s >= LINE_S:
            self._line_s = time.monotonic()
            typer.echo(f"{self._share():6.1%}  {self._state()}", err=True)


def time_left(started_s: float, share: float) -> str:
    """Say how long work takes from here on, if it goes on as before; `started_s` by the monotonic clock."""
    seconds = max(time.monotonic() - started_s, 1e-3)
    return str(timedelta(seconds=round(seconds / share - seconds))) if share > 0.001 else "?"


def print_result(table: Table) -> None:
    """Print a table, as wide as the terminal."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    Console(markup=False, highlight=False, width=width).print(table)
