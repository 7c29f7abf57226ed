"""A report's curves as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sekisho.bench.curve import Curve
from sekisho.bench.report import Report
from sekisho.bench.stages import STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (7.0, 4.8)
_DOTS_PER_INCH = 120


def draw(report: Report, directory: Path) -> list[Path]:
    """What the report has curves for; needs matplotlib, of the extra `bench`. The files that were written."""
    directory.mkdir(parents=True, exist_ok=True)
    about = report.about.get("Sekisho", "")
    written = []
    if report.curves:
        for name, into in (("throughput", _throughput), ("latency", _latency), ("padding", _padding)):
            written.append(_plot(directory / f"{name}.png", about, partial(into, report.curves)))
    if report.stages:
        written.append(_plot(directory / "stages.png", about, partial(_stages, report.stages)))
    if report.memory:
        written.append(_plot(directory / "memory.png", about, partial(_memory, report.memory)))
    return written


def _plot(path: Path, about: str, into: Callable[[Axes], None]) -> Path:
    from matplotlib.figure import Figure  # the extra `bench`; no window, no global state

    figure = Figure(figsize=_SIZE, dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    into(axes)
    axes.grid(visible=True, alpha=0.3)
    axes.set_title(about, fontsize=8)
    figure.savefig(path)
    return path


def _against_clients(axes: Axes, curves: Mapping[str, Curve]) -> None:
    clients = sorted({point.clients for curve in curves.values() for point in curve})
    axes.set_xscale("log", base=2)
    axes.set_xticks(clients, [f"{count:,}" for count in clients])
    axes.set_xlabel("clients, one text a request")
    legend_below(axes, columns=2)


def legend_below(axes: Axes, columns: int, distance: float = 0.15) -> None:
    """Where it hides no line. distance: of the axes' height, for what is written between."""
    axes.legend(ncols=columns, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -distance))


def _throughput(curves: Mapping[str, Curve], axes: Axes) -> None:
    for name, curve in curves.items():
        axes.plot([point.clients for point in curve], [point.tokens_per_second for point in curve], "o-", label=name)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("tokens a second")
    _against_clients(axes, curves)


def _latency(curves: Mapping[str, Curve], axes: Axes) -> None:
    for name, curve in curves.items():
        clients = [point.clients for point in curve]
        (line,) = axes.plot(clients, [point.p50 for point in curve], "o-", label=f"{name}, p50")
        axes.plot(clients, [point.p99 for point in curve], "o--", color=line.get_color(), label=f"{name}, p99")
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    _against_clients(axes, curves)


def _padding(curves: Mapping[str, Curve], axes: Axes) -> None:
    for name, curve in curves.items():
        known = [point for point in curve if point.padding]
        if known:
            axes.plot(
                [point.clients for point in known], [100 * (point.padding - 1) for point in known], "o-", label=name
            )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("padding, in percent of the real tokens")
    _against_clients(axes, curves)


def _stages(stages: Mapping[str, Mapping[str, float]], axes: Axes) -> None:
    """A bar for each number of clients, as shares: the times themselves are hundreds of times apart."""
    labels = [
        f"{clients} client{'s' if clients != '1' else ''}\n{sum(each.values()):,.1f} ms"
        for clients, each in stages.items()
    ]
    left = [0.0] * len(labels)
    for stage in STAGES:
        shares = [100 * max(0.0, each[stage]) / sum(each.values()) for each in stages.values()]
        axes.barh(labels, shares, left=left, label=stage)
        left = [before + share for before, share in zip(left, shares, strict=True)]
    axes.set_xlabel("percent of a request's time, medians")
    legend_below(axes, columns=3)


def _memory(memory: list[tuple[float, float]], axes: Axes) -> None:
    axes.plot([100 * share for share, _ in memory], [mib for _, mib in memory])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("percent of the texts answered")
    axes.set_ylabel("resident, MiB")
