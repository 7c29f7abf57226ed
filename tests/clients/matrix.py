"""Which client passed which check: gathered while the tests run, printed at their end, written into docs/clients.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.columns import COLUMNS, FAMILIES, SHOWN
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "clients.md"

#: A test's outcome as the table shows it.
_SHOWN = {"passed": "ok", "failed": "FAILED", "skipped": "not run"}
#: A check that does not concern a client.
_NONE = "–"

#: Of an exception's text so many characters are shown.
_LONGEST = 400

#: What varies from run to run, or is noise around what the server said.
_VOLATILE = (
    (r"\bTraceback \(most recent call last\):.*", "…"),
    (r"\d[\d,]* tokens wait", "8,123 tokens wait"),
    (r"req_[0-9a-f]{24}", "req_…"),
    (r"input_value=\{.*?\}, input_type", "input_value={…}, input_type"),
    (r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:8000"),
    (r"headers: \{.*?\}, status_code", "headers: {…}, status_code"),
    (r"For more information check: \S+", ""),
    # Of a body only the first message; the others say the same.
    (r"""(?s)((?:'|")(?:error|message)(?:'|"): ?(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')).*""", r"\1, …"),
    (r"\s+", " "),
)


def shown(text: str) -> str:
    """An exception's text as the page has it: on one line, without what is another the next time."""
    for pattern, instead in _VOLATILE:
        text = re.sub(pattern, instead, text, flags=re.DOTALL)
    text = text.strip() or "(no text)"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


@dataclass
class Matrix:
    """outcomes: check → column → outcome. texts: column → error → the exception's class and text.

    whole: no check was left out of this run.
    """

    outcomes: dict[str, dict[str, str]] = field(default_factory=dict)
    texts: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    whole: bool = True

    def note(self, check: str, column: str, outcome: str) -> None:
        """Several tests of one check and column: the worst counts."""
        row = self.outcomes.setdefault(check, {})
        row[column] = min(row.get(column, outcome), outcome, key=["failed", "skipped", "passed"].index)

    def note_text(self, error: str, column: str, kind: str, text: str) -> None:
        self.texts.setdefault(column, {})[error] = (kind, shown(text))

    @property
    def columns(self) -> list[str]:
        """Those that were tested, in the order of the page."""
        tested = {column for row in self.outcomes.values() for column in row}
        return [name for name in COLUMNS if name in tested]

    @property
    def passed(self) -> bool:
        """Whether nothing failed; what was not run has not failed."""
        return all(outcome != "failed" for row in self.outcomes.values() for outcome in row.values())

    @property
    def complete(self) -> bool:
        """Whether every check of every column was run."""
        ran = all(outcome == "passed" for row in self.outcomes.values() for outcome in row.values())
        return self.whole and ran and self.columns == SHOWN

    def found(self) -> Iterator[tuple[str, str, str, str]]:
        """What the page must have on one line: error, client, exception, text."""
        for column, texts in self.texts.items():
            for error, (kind, text) in texts.items():
                yield error, title_of(column), kind, text.replace("|", "\\|")

    def table(self, family: str) -> list[list[str]]:
        """Head and rows of one family: a row for each check that concerns it."""
        columns = [name for name in self.columns if COLUMNS[name].family == family]
        rows = [
            [check, *(_SHOWN[row[name]] if name in row else _NONE for name in columns)]
            for check, row in self.outcomes.items()
            if row.keys() & {*columns}
        ]
        return [["", *map(title_of, columns)], *rows] if rows else []

    def lines(self) -> Iterator[str]:
        """The tables for a terminal."""
        for family in FAMILIES:
            if not (table := self.table(family)):
                continue
            yield family
            widths = [max(map(len, column)) for column in zip(*table, strict=True)]
            for row in table:
                yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            yield ""

    def markdown_rows(self) -> list[str]:
        """The tables for the page, each under the versions that were tried."""
        written = []
        for family in FAMILIES:
            if not (table := self.table(family)):
                continue
            head, *rows = [_markdown(row) for row in table]
            written += ["", f"### {family}", "", *_versions(family), head, _markdown(["---"] * len(table[0])), *rows]
        return [*written[1:]]

    def markdown_texts(self) -> list[str]:
        """What a person sees for each error, client after client; those that say the same share a row."""
        written = []
        for family in FAMILIES:
            rows: dict[tuple[str, str, str], list[str]] = {}
            for name, texts in self.texts.items():
                if COLUMNS[name].family == family:
                    for error, (kind, text) in texts.items():
                        rows.setdefault((error, kind, text), []).append(name)
            if not rows:
                continue
            written += ["", f"### Errors: {family}", "", _markdown(["What is wrong", "Client", "Exception", "Text"])]
            written.append(_markdown(["---"] * 4))
            errors = list(dict.fromkeys(error for error, _, _ in rows))
            for (error, kind, text), names in sorted(rows.items(), key=lambda row: errors.index(row[0][0])):
                titles = "<br>".join(title_of(name) for name in _ordered(names))
                exception = f"`{kind}`" if kind else "none"
                written.append(_markdown([error, titles, exception, text.replace("|", "\\|")]))
        return [*written[1:]]


def _ordered(names: Sequence[str]) -> list[str]:
    return [name for name in COLUMNS if name in names]


def title_of(column: str) -> str:
    """A column's head: the version where columns of a family differ in nothing else."""
    found = COLUMNS[column]
    if found.family != "OpenAI":
        return found.title
    return f"{found.distribution} (npm)" if found.package.startswith("npm:") else found.distribution


def _versions(family: str) -> list[str]:
    """One line naming the packages, where the heads do not."""
    packages = dict.fromkeys(
        column.distribution for column in COLUMNS.values() if column.family == family and column.package
    )
    return [f"{', '.join(packages)}.", ""] if packages and family != "OpenAI" else []


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
