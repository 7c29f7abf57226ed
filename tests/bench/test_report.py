"""Reports: as files, merged, and as tables."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from sekisho.bench.bars import row
from sekisho.bench.curve import Point
from sekisho.bench.figures import Row
from sekisho.bench.report import Report, table


def report(*rows: Row) -> Report:
    return Report(
        {"Sekisho": "tiny", "machine": "a CPU"},
        list(rows),
        {"Sekisho": [Point(1, 900.0, 1.0, 2.0, 0.5, 1.0), Point(4, 1000.0, 3.0, 5.0, 0.7, 1.1)]},
        {"1": {"run": 1.0}},
        [(0.1, 200.0), (0.9, 210.0)],
    )


def shown(*reports: Report) -> str:
    console = Console(width=160, file=io.StringIO())
    with console.capture() as captured:
        console.print(table(reports))
    return captured.get()


P1 = row("P1", [0.9, 0.95, 0.93])
P5 = row("P5", [1.5])


def test_a_report_is_the_same_after_its_file(tmp_path: Path) -> None:
    written = report(P1, P5)
    written.write(tmp_path / "report.json")
    assert Report.read(tmp_path / "report.json") == written


def test_the_file_is_json_for_everybody(tmp_path: Path) -> None:
    report(Row("", "unknown", (float("nan"),))).write(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text("utf-8")
    assert "NaN" not in text
    assert json.loads(text)["rows"][0]["values"] == [None]


def test_what_was_measured_again_replaces_the_older() -> None:
    again = row("P5", [0.7])
    merged = report(again).over(report(P1, P5))
    assert merged.rows == [P1, again]


def test_what_was_not_measured_again_stays() -> None:
    newer = Report({"begun": "now"}, [P5])
    merged = newer.over(report(P1))
    assert merged.rows == [P1, P5]
    assert merged.curves
    assert merged.memory
    assert merged.about == {"Sekisho": "tiny", "machine": "a CPU", "begun": "now"}


def test_a_run_is_shown_with_its_spread_and_its_verdict() -> None:
    lines = [line for line in shown(report(P1, P5)).splitlines() if "│ P" in line]
    assert [cell.strip() for cell in lines[0].split("│")[1:-1]][2:] == ["0.930 ×", "0.900 – 0.950", "≥ 0.92", "met"]
    assert [cell.strip() for cell in lines[1].split("│")[1:-1]][2:] == ["1.500 ms", "1.500 – 1.500", "≤ 1", "not met"]


def test_several_runs_are_shown_side_by_side_and_judged_by_their_median() -> None:
    runs = [report(row("P1", [figure])) for figure in (0.8, 0.93, 0.95)]
    (line,) = [line for line in shown(*runs).splitlines() if "│ P1" in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]][2:] == [
        "0.800",
        "0.930",
        "0.950",
        "0.930 ×",
        "≥ 0.92",
        "met",
    ]


def test_a_row_that_one_run_lacks_is_shown_for_the_others() -> None:
    (line,) = [line for line in shown(report(P5), report(P1, P5)).splitlines() if "│ P1" in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]][2:5] == ["", "0.930", "0.930 ×"]


def test_a_disturbed_run_says_so() -> None:
    disturbed = Row(
        "P1", "ratio", (0.95,), limit=0.92, at_least=True, disturbed="other programs used 50 % of the cores"
    )
    text = shown(report(disturbed))
    assert "0.950*" in text
    assert "* disturbed: other programs used 50 % of the cores" in text
    assert "No run was disturbed" in shown(report(P1))


@pytest.mark.parametrize("content", ["[]", "{}", "no json"])
def test_what_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises((ValueError, LookupError, TypeError)):
        Report.read(tmp_path / "report.json")
