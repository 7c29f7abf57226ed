"""What a run found: rows, what they were measured on, and the curves behind them; as JSON and as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from sekisho.bench.curve import Curve, Point
from sekisho.bench.figures import Row


@dataclass
class Report:
    """One run, or as much of it as was asked for.

    about: what was measured, where and when, as text by name. curves: by server. stages: milliseconds of each stage of
    a request in the middle, by clients. memory: (share of the texts answered, MiB).
    """

    about: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)

    def over(self, older: Report) -> Report:
        """This one, and of the older whatever was not measured again."""
        again = {(row.bar, row.what) for row in self.rows}
        rows = [row for row in older.rows if (row.bar, row.what) not in again] + self.rows
        return Report(
            older.about | self.about,
            sorted(rows, key=_place),
            older.curves | self.curves,
            older.stages | self.stages,
            self.memory or older.memory,
        )

    def write(self, path: Path) -> None:
        """Replaces the file."""
        written = asdict(self) | {"rows": [row.as_json() for row in self.rows]}
        path.write_text(json.dumps(_finite(written), indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Raises OSError, ValueError or LookupError where the file is no report."""
        written = json.loads(path.read_text("utf-8"))
        return cls(
            written["about"],
            [Row.from_json(row) for row in written["rows"]],
            {name: [Point(**point) for point in curve] for name, curve in written["curves"].items()},
            written["stages"],
            [(share, mib) for share, mib in written["memory"]],
        )


def _place(row: Row) -> float:
    return float(row.bar[1:]) if row.bar else math.inf


def _finite(value: Any) -> Any:
    """JSON knows no infinity and no NaN."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(reports: Sequence[Report]) -> Table:
    """A line a figure: of one run its median and spread, of several the median of each and the median of these."""
    made = Table(title=_title(reports), title_justify="left", caption=_caption(reports), caption_justify="left")
    made.add_column("bar", no_wrap=True)
    made.add_column("measured", overflow="fold")
    several = len(reports) > 1
    for number in range(len(reports)) if several else ():
        made.add_column(f"run {number + 1}", justify="right", no_wrap=True)
    made.add_column("median", justify="right", no_wrap=True)
    if not several:
        made.add_column("lowest – highest", justify="right", no_wrap=True)
    made.add_column("bar", justify="right", no_wrap=True)
    made.add_column("met", no_wrap=True)
    for key in dict.fromkeys((row.bar, row.what) for report in reports for row in sorted(report.rows, key=_place)):
        _add(made, [_find(report, key) for report in reports])
    return made


def _find(report: Report, key: tuple[str, str]) -> Row | None:
    return next((row for row in report.rows if (row.bar, row.what) == key), None)


def _add(made: Table, found: Sequence[Row | None]) -> None:
    rows = [row for row in found if row is not None]
    over = Row(**{**vars(rows[-1]), "values": tuple(row.figure for row in rows)})
    cells = [over.bar, over.what + (f" ({rows[-1].note})" if rows[-1].note else "")]
    if len(found) > 1:
        cells += [_shown(row.figure) + ("*" if row.disturbed else "") if row else "" for row in found]
    cells.append(f"{_shown(over.figure)}{'*' if len(found) == 1 and over.disturbed else ''} {over.unit}".strip())
    if len(found) == 1:
        cells.append(f"{_shown(min(rows[0].values))} – {_shown(max(rows[0].values))}")
    asked = "" if over.limit is None else f"{'≥' if over.at_least else '≤'} {over.limit:g}"
    made.add_row(*cells, asked, _verdict(over))


def _verdict(row: Row) -> Text:
    if row.met is None:
        return Text("")
    return Text("met", "green") if row.met else Text("not met", "red")


def _shown(figure: float) -> str:
    """Three digits, or whole numbers."""
    if not math.isfinite(figure):
        return "none"
    if figure == 0 or 1e-3 <= abs(figure) < 100:
        return f"{figure:.3f}" if abs(figure) < 10 else f"{figure:.1f}"
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.1e}"


def _title(reports: Sequence[Report]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in reports[-1].about.items())


def _caption(reports: Sequence[Report]) -> str:
    told = dict.fromkeys(row.disturbed for report in reports for row in report.rows if row.disturbed)
    return "* disturbed: " + " / ".join(told) if told else "No run was disturbed by other programs."
