"""Rows of the endurance runs as a table, and the ones that both have."""

from __future__ import annotations

from rich.table import Table

from benchmarks.endurance_server import Sameness
from sekisho.bench.figures import Row


def table(found: list[Row], title: str) -> Table:
    """Figure, bar, met or not."""
    result = Table("", "figure", "bar", "", "", title=title, title_justify="left")
    for row in found:
        bar = "" if row.limit is None else f"{'≥' if row.at_least else '≤'} {row.limit:g} {row.unit}"
        met = {None: "", True: "met", False: "[bold red]not met[/]"}[row.met]
        result.add_row(row.what, f"{_written(row.figure)} {row.unit}", bar, met, row.note)
    return result


def _written(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 or figure == round(figure) else f"{figure:.3g}"


def same(model: str, found: Sameness) -> Row:
    """Whether texts have the vectors that they have alone."""
    what = f"{model}: largest difference of a number from the same text alone"
    note = f"{found.compared:,} compared, {found.beyond:,} beyond {Sameness.LEAST:g}"
    return Row("", what, (found.apart,), limit=Sameness.LEAST, note=note)


def idle(share: float) -> Row:
    """share: CPU time ÷ time, of one core."""
    return Row("", "idle afterwards, CPU of one core", (100 * share,), "%", 1.0)
