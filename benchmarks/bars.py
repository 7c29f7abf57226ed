"""Every bar, P1 to P15, the peers beside us: one table of one run or of several; JSON and plots where asked for.

scripts/bench                                             one run of everything
scripts/bench --runs 3 --json bench.json                  three runs: bench-1.json, bench-2.json, bench-3.json
scripts/bench --only P3,P4 --json bench-1.json --merge    measures these again and keeps the rest of the file
scripts/bench --show bench-1.json bench-2.json            measures nothing: the table of these runs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import apart, beside, footprint
from benchmarks.peers import INFINITY
from sekisho.assemble import open_catalog
from sekisho.bench.bars import BARS
from sekisho.bench.figures import Row
from sekisho.bench.plots import draw
from sekisho.bench.report import Report, table
from sekisho.bench.run import OWN, Wanted, measure, watch
from sekisho.bench.server import sekisho
from sekisho.bench.stand import QUICK, Sizes
from sekisho.settings import Settings

_MODEL = "all-minilm-l6-v2"
_BESIDE = {"P3", "P4"}
#: Rounds of what takes minutes.
_SLOW_ROUNDS = 3
_INT8_TEXTS = 128
_COLUMNS = 140


def _say(doing: str) -> None:
    print(f"==> {doing}", file=sys.stderr, flush=True)


def run(bars: Collection[str], sizes: Sizes) -> Report:
    """One run of these bars. Raises what a server or a load fails with."""
    settings = Settings()
    spec = open_catalog(settings).registry.find(_MODEL)
    slow = min(sizes.rounds, _SLOW_ROUNDS)
    own = [bar for bar in OWN if bar in bars]
    report = measure(settings, spec, Wanted(own, sizes, beside.sections(_say) if _BESIDE & set(bars) else ()), _say)
    for bar, measuring in _apart(sizes, slow):
        if bar in bars:
            watch(report, measuring)
    return report


def _apart(sizes: Sizes, slow: int) -> Sequence[tuple[str, Callable[[], list[Row]]]]:
    """What is measured on nothing that the others need."""
    return (
        ("P10", lambda: beside.first_vector_rows(_first_vector, slow) if INFINITY.installed else []),
        ("P6", lambda: apart.int8_rows(sizes.rounds, _INT8_TEXTS, _say)),
        ("P7", lambda: apart.rerank_rows(slow, _say)),
        ("P12", lambda: footprint.conversion_rows(slow, _say)),
        ("P13", lambda: footprint.installation_rows(_say)),
    )


def _first_vector() -> float:
    with sekisho(_MODEL) as served:
        return served.first_vector_seconds


def _named(path: Path, number: int, runs: int) -> Path:
    return path if runs == 1 else path.with_stem(f"{path.stem}-{number + 1}")


def _measured(given: argparse.Namespace) -> list[Report]:
    """Each run is written when it ends."""
    sizes = QUICK if given.quick else Sizes()
    if given.rounds:
        sizes = sizes.of_rounds(given.rounds)
    reports = []
    for number in range(given.runs):
        report = run(given.only, sizes)
        if given.json:
            path = _named(given.json, number, given.runs)
            if given.merge and path.exists():
                report = report.over(Report.read(path))
            report.write(path)
        reports.append(report)
    return reports


def _bars(text: str) -> list[str]:
    bars = [bar.strip().upper() for bar in text.split(",")]
    if unknown := [bar for bar in bars if bar not in BARS]:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(BARS)}")
    return bars


def main() -> None:
    """What scripts/bench runs."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=_bars, default=list(BARS), help="bars with commas between, such as P1,P2")
    parser.add_argument("--runs", type=int, default=1, help="separate runs, one after the other")
    parser.add_argument("--rounds", type=int, help="of every figure")
    parser.add_argument("--quick", action="store_true", help="everything once on few texts: does it run?")
    parser.add_argument("--json", type=Path, help="write each run's report here")
    parser.add_argument("--merge", action="store_true", help="keep the rows of that file which are not measured now")
    parser.add_argument("--plots", type=Path, help="draw the last run into this directory")
    parser.add_argument("--show", type=Path, nargs="+", help="measure nothing: the table of these reports")
    given = parser.parse_args()
    reports = [Report.read(path) for path in given.show] if given.show else _measured(given)
    Console(width=_COLUMNS).print(table(reports))
    if given.plots:
        draw(reports[-1], given.plots)


if __name__ == "__main__":
    main()
