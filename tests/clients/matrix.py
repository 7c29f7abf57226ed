"""Which client passed which check: gathered while the tests run, printed at their end, written into docs/clients.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.environments import ALL, title_of
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "clients.md"

#: A test's outcome as the table shows it.
_SHOWN = {"passed": "ok", "failed": "FAILED", "skipped": "not run"}


@dataclass
class Matrix:
    """outcomes: check → client → outcome. texts: error → client → the exception's class and text.

    whole: no check was left out of this run.
    """

    outcomes: dict[str, dict[str, str]] = field(default_factory=dict)
    texts: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    whole: bool = True

    def note(self, check: str, client: str, outcome: str) -> None:
        """Several tests of one check and client: the worst counts."""
        row = self.outcomes.setdefault(check, {})
        row[client] = min(row.get(client, outcome), outcome, key=["failed", "skipped", "passed"].index)

    def note_text(self, error: str, client: str, kind: str, text: str) -> None:
        """`text` without what changes from run to run."""
        self.texts.setdefault(error, {})[client] = (kind, re.sub(r"\d[\d,]* tokens wait", "8,123 tokens wait", text))

    @property
    def clients(self) -> list[str]:
        """The columns: those that were tested, in the order of the environments."""
        tested = {client for row in self.outcomes.values() for client in row}
        return sorted(tested, key=lambda name: (ALL.index(name) if name in ALL else len(ALL), name))

    @property
    def passed(self) -> bool:
        return all(outcome == "passed" for row in self.outcomes.values() for outcome in row.values())

    def table(self) -> list[list[str]]:
        """Head and rows; a check that does not concern a client is `–`."""
        columns = self.clients
        rows = [
            [check, *(_SHOWN[row[client]] if client in row else "–" for client in columns)]
            for check, row in self.outcomes.items()
        ]
        return [["", *map(_title, columns)], *rows]

    def lines(self) -> Iterator[str]:
        """The table for a terminal."""
        table = self.table()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    def markdown_rows(self) -> list[str]:
        """The table for the page."""
        head, *rows = [_markdown(row) for row in self.table()]
        return [head, _markdown(["---"] * len(self.table()[0])), *rows]

    def markdown_texts(self) -> list[str]:
        """What a person sees for each error, in the newest openai package; the older ones print more around it."""
        written = [_markdown(["What is wrong", "Exception", "Text"]), _markdown(["---"] * 3)]
        for error, clients in self.texts.items():
            client = next(name for name in ALL if name in clients)
            kind, text = clients[client]
            written.append(_markdown([error, f"`{kind}`", text.replace("|", "\\|")]))
        return written


def _title(client: str) -> str:
    return title_of(client) if client in ALL else client


def _markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def written_between(name: str, page: Path = PAGE) -> list[str]:
    """The generated lines of that name in the page."""
    before, _, rest = page.read_text("utf-8").partition(_begin(name))
    between, _, after = rest.partition(_end(name))
    if not (before and after):
        raise ValueError(f"{page.name} has no place for {name}")
    return between.strip().splitlines()


def write_between(name: str, lines: Sequence[str], page: Path = PAGE) -> None:
    """Replace the generated lines of that name in the page."""
    text = page.read_text("utf-8")
    before, _, rest = text.partition(_begin(name))
    _, _, after = rest.partition(_end(name))
    page.write_text("\n".join([f"{before}{_begin(name)}", *lines, f"{_end(name)}{after}"]), "utf-8")


def _begin(name: str) -> str:
    return f"<!-- {name}: written by scripts/client-matrix -->"


def _end(name: str) -> str:
    return f"<!-- end of {name} -->"
