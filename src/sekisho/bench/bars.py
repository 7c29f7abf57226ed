"""The bars: what is measured, and what its median has to reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekisho.bench.figures import Row


@dataclass(frozen=True)
class Bar:
    """what: the figure in words. limit: a lowest figure where `at_least`, else a highest one."""

    what: str
    limit: float
    unit: str = ""
    at_least: bool = False


BARS = {
    "P1": Bar("tokens/s in bulk, 4 clients × 64 texts, ÷ ideal", 0.92, "×", at_least=True),
    "P2": Bar("tokens/s of single texts, 64 clients, ÷ ideal", 0.80, "×", at_least=True),
    "P3": Bar("tokens/s ÷ Infinity's", 6, "×", at_least=True),
    "P4": Bar("p99 with 64 clients ÷ Infinity's", 0.2, "×"),
    "P5": Bar("p50 of one client − tokenising and running in process", 1.0, "ms"),
    "P6": Bar("int8's tokens/s ÷ ONNX Runtime fp32's", 2.5, "×", at_least=True),
    "P7": Bar("pairs/s, 1 query × 100 documents, ÷ CrossEncoder's", 3, "×", at_least=True),
    "P8": Bar("p99 of single queries beside a bulk job ÷ without", 3, "×"),
    "P9": Bar("server CPU a single text, beside tokenising and running", 0.35, "ms"),
    "P10": Bar("process start → first vector, model prepared", 2, "s"),
    "P11": Bar("resident memory under load", 450, "MiB"),
    "P12": Bar("conversion of all-MiniLM-L6-v2", 5, "s"),
    "P13": Bar("site-packages of serving with ONNX Runtime alone", 200, "MiB"),
    "P14": Bar("lowest share of the best throughput so far, as clients become more", 0.95, "×", at_least=True),
    "P15": Bar("padded ÷ real tokens, single texts, 64 clients", 1.08, "×"),
}


def row(
    bar: str,
    values: Sequence[float],
    more: str = "",
    *,
    limit: float | None = None,
    unit: str | None = None,
    at_least: bool | None = None,
    note: str = "",
) -> Row:
    """A row of a bar. more: what this row of it is; limit, unit, at_least: where they differ from the bar's own."""
    found = BARS[bar]
    return Row(
        bar,
        f"{found.what}{more}",
        tuple(values),
        found.unit if unit is None else unit,
        found.limit if limit is None else limit,
        found.at_least if at_least is None else at_least,
        note,
    )
