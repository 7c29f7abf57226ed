"""What every command prints with: two streams, one kind of failure, results a line each, progress bars."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

#: Wide enough for a table in a pipe or a file, where there is no window to ask.
_PIPED_COLUMNS = 120

out = Console()
err = Console(stderr=True)


def columns() -> int:
    """How wide a table may be."""
    return out.width if out.is_terminal or "COLUMNS" in os.environ else _PIPED_COLUMNS


def print_table(table: Table) -> None:
    """On stdout, within `columns`."""
    Console(width=columns()).print(table)


class Failed(Exception):
    """A command's own failure, told in one line."""


class Results:
    """What became of each model: a line at once for people, or one document at the end for scripts.

    A result has the keys `model`, `ok` (None: it was passed by) and, by these, what was found, `error` or `skipped`.
    """

    def __init__(self, done: str, *, as_json: bool) -> None:
        """done: the word for what went well."""
        self._done = done
        self._as_json = as_json
        self._results: list[dict[str, Any]] = []

    def add(self, result: dict[str, Any], line: str | None = None) -> None:
        """line: what people read where it went well, in place of all that was found."""
        self._results.append(result)
        if self._as_json:
            return
        if result["ok"]:
            found = ", ".join(f"{key}: {value}" for key, value in result.items() if key not in {"model", "ok"})
            _line(out, line or f"{result['model']}: {self._done} ({found})")
        elif result["ok"] is None:
            _line(out, f"{result['model']}: skipped: {result['skipped']}")
        else:
            _line(err, f"{result['model']}: {result['error']}", style="red")

    def end(self) -> None:
        """Ends the command with 1 where something failed; what was passed by did not."""
        if self._as_json:
            out.print_json(json.dumps(self._results, ensure_ascii=False))
        if any(result["ok"] is False for result in self._results):
            raise typer.Exit(1)


def _line(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


class Bars:
    """Progress of several steps, a bar each."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, step: str, done: int, size: int) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=size)
        self._progress.update(self._tasks[step], completed=done, total=size)


@contextmanager
def progress(quiet: bool) -> Iterator[Bars]:
    """Bars on stderr where a person looks at it; gone when the step is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True) as shown:
        yield Bars(shown)
