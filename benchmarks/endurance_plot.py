"""A soak as a picture: memory, p99 of every stream, and cores, over its minutes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sekisho.bench.plots import legend_below


def draw(report: Mapping[str, Any], target: Path) -> None:
    """Write a PNG of what `soak.report` gave."""
    from matplotlib.figure import Figure  # takes a second to import, and only pictures need it

    figure = Figure(figsize=(9, 9), layout="constrained")
    memory, latency, cores = figure.subplots(3, sharex=True)
    samples, found = report["samples"], report["windows"]
    minutes = [sample["at"] / 60 for sample in samples]
    memory.plot(minutes, [sample["resident_mib"] for sample in samples])
    memory.set(ylabel="resident, MiB", ylim=(0, 1.1 * max(sample["resident_mib"] for sample in samples)))
    for stream in dict.fromkeys(window["stream"] for window in found):
        own = [window for window in found if window["stream"] == stream]
        middle = [(window["at"] + report["sizes"]["window"] / 2) / 60 for window in own]
        (drawn,) = latency.plot(middle, [window["p99"] for window in own], label=stream)
        latency.plot(middle, [window["p50"] for window in own], color=drawn.get_color(), linestyle=":")
    latency.set(ylabel="ms: p99, and p50 dotted", yscale="log")
    legend_below(latency, columns=3, distance=0.02)
    cores.plot(minutes, [sample["cores"] for sample in samples], label="cores used by the server")
    slowness = [sample["yardstick"] / samples[0]["yardstick"] for sample in samples]
    cores.plot(minutes, slowness, linewidth=0.7, label="time of a fixed piece of work ÷ its first")
    cores.set(xlabel="minutes", ylim=(0, None))
    legend_below(cores, columns=3)
    figure.savefig(target, dpi=110)
