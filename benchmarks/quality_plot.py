"""Speed against quality, from what `scripts/quality --json` wrote: a point a variant, its speeds' range as a line.

python -m benchmarks.quality_plot quality.json curve.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sekisho.convert.gate import MEAN, OVERLAP

#: The aim for int8, in speeds of ONNX Runtime's fp32.
_FASTER = 2.5
#: A mean cosine; what is farther off is not drawn beside the others.
_WORST_DRAWN = 0.98


def plot(source: Path, target: Path) -> None:
    """Mean cosine above, ten nearest below."""
    from matplotlib import pyplot

    read = json.loads(source.read_text("utf-8"))
    points = [point for point in read if point["gate"]["cosine_mean"] > _WORST_DRAWN]
    figure, axes = pyplot.subplots(2, 1, figsize=(9, 9), sharex=True, layout="constrained")
    _draw(axes[0], points, "cosine_mean", 1 - MEAN)
    _draw(axes[1], points, "overlap", 1 - OVERLAP)
    axes[0].set_ylabel("1 - mean cosine to fp32")
    axes[1].set_ylabel("share of the ten nearest that is lost")
    axes[0].legend(fontsize=7)
    axes[1].set_xlabel("tokens/s ÷ ONNX Runtime fp32, by CPU time, one thread; dotted: the bars")
    figure.savefig(target, dpi=120)


def _draw(panel: Any, points: list[dict[str, Any]], key: str, needed: float) -> None:
    for number, point in enumerate(points):
        speed, lost = point["by_cpu"], 1 - point["gate"][key]
        colour, mark = f"C{number % 10}", "*" if point["served"] else "os"[number // 10]
        panel.plot([speed["min"], speed["max"]], [lost, lost], color=colour, alpha=0.4)
        panel.plot(speed["median"], lost, mark, color=colour, markersize=8, label=point["name"])
    panel.axhline(needed, linestyle=":", color="gray")
    panel.axvline(_FASTER, linestyle=":", color="gray")
    panel.set_yscale("log")


if __name__ == "__main__":
    plot(Path(sys.argv[1]), Path(sys.argv[2]))
