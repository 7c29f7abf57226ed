"""A report's curves as pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.bench.curve import Point
from sekisho.bench.plots import draw
from sekisho.bench.report import Report
from sekisho.bench.stages import STAGES
from sekisho.cli.bench import _need
from sekisho.cli.console import Failed

CURVE = [Point(1, 900.0, 1.0, 2.0, 0.5, 1.0), Point(64, 9000.0, 30.0, 50.0, 0.7, 1.08)]
THEIRS = [Point(1, 90.0, 10.0, 20.0), Point(64, 95.0, 900.0, 2000.0)]


def test_every_curve_is_drawn(tmp_path: Path) -> None:
    stages = {clients: dict.fromkeys(STAGES, 1.5) for clients in ("1", "64")}
    memory = [(place / 10, 300.0 + place) for place in range(10)]
    report = Report({"Sekisho": "tiny"}, [], {"Sekisho": CURVE, "another": THEIRS}, stages, memory)
    written = draw(report, tmp_path / "plots")
    assert [path.name for path in written] == [
        "throughput.png", "latency.png", "padding.png", "stages.png", "memory.png",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    assert draw(Report({}), tmp_path) == []


def test_what_is_not_installed_is_named_with_what_brings_it() -> None:
    with pytest.raises(Failed, match=r"no_such_module not installed: pip install 'sekisho\[bench\]'"):
        _need("json", "no_such_module")
