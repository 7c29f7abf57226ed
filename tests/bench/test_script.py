"""`scripts/bench`, as far as it measures nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.bench.bars import BARS, row
from sekisho.bench.report import Report
from tests.conftest import REPOSITORY


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.bars", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_runs_are_shown_together(tmp_path: Path) -> None:
    for number, figure in enumerate((6.5, 5.0, 7.0)):
        Report({"run": str(number)}, [row("P3", [figure], ", bulk")]).write(tmp_path / f"{number}.json")
    done = script("--show", *sorted(tmp_path.glob("*.json")))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "│ P3" in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]][2:] == ["6.500", "5.000", "7.000", "6.500 ×", "≥ 6", "met"]


def test_a_bar_that_is_none_is_told() -> None:
    done = script("--only", "P1,P16")
    assert done.returncode == 2
    assert "no P16; there are P1" in done.stderr


@pytest.mark.parametrize("bar", BARS)
def test_every_bar_has_a_limit_and_words(bar: str) -> None:
    assert row(bar, [1.0]).limit is not None
    assert row(bar, [1.0]).what
