"""Endurance: mixed models and lengths for half an hour at a bounded rate. Memory flat, no error, no drift of latency.

Single texts, bulk requests and reranks go to three models of one server: all-MiniLM-L6-v2 in the machine's number
format, the same in fp32, and a tiny reranker. First each stream has the server for itself, which says what a request of
it costs; then all run at once, at random moments, at rates that would keep the server busy for half of the time: a
shared machine may become slower by half meanwhile, and more than it can do is no soak. 1 % of the texts are compared
with their vectors alone. Result caches are off.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import endurance
from benchmarks.endurance_plan import Answered, Ended, Kept, LoadPlan, Record, Stream
from benchmarks.endurance_server import (
    AUTO,
    FP32,
    RERANKER,
    Sameness,
    Sample,
    Sampler,
    compare,
    idle_share,
    load,
    prepared,
    write_registry,
)
from benchmarks.endurance_table import idle, same, table
from sekisho.bench import disturbance
from sekisho.bench.figures import Row, quantile
from sekisho.bench.server import Served, sekisho

#: As many at once, when a stream has the server for itself, as it takes to keep it busy.
STREAMS = (
    Stream("single texts", "embed", AUTO, 1, clients=64),
    Stream("bulk of 64", "embed", AUTO, 64, clients=4),
    Stream("single texts, fp32", "embed", FP32, 1, clients=64),
    Stream("bulk of 64, fp32", "embed", FP32, 64, clients=4),
    Stream("rerank of 20", "rerank", RERANKER, 20, clients=16),
)
#: Of the time that the server is busy.
SHARES = {
    "single texts": 0.4,
    "bulk of 64": 0.2,
    "single texts, fp32": 0.15,
    "bulk of 64, fp32": 0.1,
    "rerank of 20": 0.15,
}


@dataclass(frozen=True)
class Sizes:
    """seconds: of the soak; alone: of each stream alone; window: of a window of latency; idle: afterwards; every:
    between samples. busy: share of the time. texts: different ones. kept: share of them that is compared.
    """

    seconds: float
    alone: float = 8.0
    window: float = 30.0
    idle: float = 30.0
    every: float = 2.0
    busy: float = 0.5
    texts: int = 20_000
    kept: float = 0.01


@dataclass(frozen=True)
class Soaked:
    """What a run has given. idle: CPU of the idle server ÷ time of one core, afterwards. disturbed: "" where not."""

    sizes: Sizes
    rates: dict[str, float]
    records: list[Record]
    samples: list[Sample]
    sameness: dict[str, Sameness]
    idle: float
    disturbed: str

    @property
    def answers(self) -> list[Answered]:
        return [record for record in self.records if isinstance(record, Answered)]

    @property
    def ended(self) -> Ended:
        return next(record for record in self.records if isinstance(record, Ended))


def soak(sizes: Sizes, folder: Path, home: Path | None = None, wanted: Sequence[Stream] = STREAMS) -> Soaked:
    """One run; what it makes goes to `folder`. home: where models may be prepared already. wanted: streams
    with the names of `SHARES`.

    Raises LoadFailed and ServerFailed.
    """
    variables = prepared(home or folder / "home", write_registry(folder), AUTO, FP32, RERANKER)
    with sekisho(AUTO, variables, width=384) as served:
        alone = _alone(served, wanted, sizes, folder)
        streams = endurance.bounded(wanted, alone, SHARES, sizes.busy)
        plan = LoadPlan(
            served.endpoint.port, tuple(streams), folder / "soak", sizes.seconds, sizes.texts, kept=sizes.kept
        )
        before = disturbance.now()
        with Sampler(served, sizes.every) as sampler:
            records = load(plan)
        disturbed = disturbance.told(before, disturbance.now(), os.cpu_count() or 1)
        same = compare(plan.port, plan, [record for record in records if isinstance(record, Kept)])
        idle = idle_share(served, sizes.idle)
    rates = {stream.name: stream.rate for stream in streams}
    return Soaked(sizes, rates, records, sampler.samples, same, idle, disturbed)


def _alone(served: Served, wanted: Sequence[Stream], sizes: Sizes, folder: Path) -> dict[str, float]:
    """Requests a second of each stream that has the server for itself; once before, for memory to have grown."""
    answers: list[Answered] = []
    for seconds in (sizes.alone / 4, sizes.alone):
        plan = LoadPlan(
            served.endpoint.port, tuple(wanted), folder / "alone", seconds, sizes.texts, kept=0, in_turn=True
        )
        answers = [record for record in load(plan) if isinstance(record, Answered)]
    return endurance.requests_a_second(answers)


def rows(run: Soaked) -> list[Row]:
    """The table."""
    answers, wrong = run.answers, sum(count for _, count in endurance.errors(run.answers))
    resident = [(sample.at, sample.resident_mib) for sample in run.samples]
    return [
        Row("", "texts and documents answered", (sum(one.texts for one in answers if not one.wrong),)),
        Row("", "requests", (len(answers),)),
        Row("", "errors", (wrong,), limit=0),
        *_memory(resident),
        *(_drift(drift) for drift in endurance.drifts(_windows(run))),
        Row("", "speed of the machine itself: CPU for a fixed piece of work, last third ÷ first",
            (endurance.thirds([sample.yardstick for sample in run.samples]),), "×"),
        *(same(model, found) for model, found in run.sameness.items()),
        Row("", "cores that the server used, median", tuple(sample.cores for sample in run.samples)),
        Row("", "cores that the load process used", (run.ended.cpu_seconds / run.ended.seconds,)),
        Row("", "tokens waiting, p99 of the samples", (quantile([sample.queued for sample in run.samples], 0.99),)),
        idle(run.idle),
    ]  # fmt: skip


def _memory(resident: list[tuple[float, float]]) -> list[Row]:
    growth = endurance.growth(resident)
    figures = [figure for _, figure in resident]
    return [
        Row("", "resident memory, median; most", tuple(figures), "MiB", note=f"most {max(figures):,.0f} MiB"),
        Row("", "its last quarter against its second one", (100 * abs(growth - 1),), "%", 5.0, note=f"× {growth:.3f}"),
    ]


def _drift(drift: endurance.Drift) -> Row:
    note = f"{drift.first:.1f} → {drift.last:.1f} ms"
    return Row("", f"p99 of {drift.stream}, last third ÷ first", (drift.ratio,), "×", endurance.MOST_DRIFT, note=note)


def _windows(run: Soaked) -> list[endurance.Window]:
    return endurance.windows(run.answers, run.sizes.window, run.ended.seconds)


def report(run: Soaked) -> dict[str, Any]:
    """Everything but the single answers, as JSON."""
    return {
        "sizes": asdict(run.sizes),
        "requests_a_second": run.rates,
        "rows": [row.as_json() for row in rows(run)],
        "errors": endurance.errors(run.answers),
        "windows": [asdict(window) for window in _windows(run)],
        "samples": [asdict(sample) for sample in run.samples],
        "sameness": {model: asdict(found) for model, found in run.sameness.items()},
        "disturbed": run.disturbed,
    }


def main() -> int:
    """The command line; 1 where a bar is not met."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--busy", type=float, default=0.5, help="share of what the server can do")
    parser.add_argument("--alone", type=float, default=8, help="seconds that each stream runs alone before")
    parser.add_argument("--idle", type=float, default=30, help="seconds of rest afterwards")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--plot", type=Path, help="draw memory and latency over time here (PNG)")
    options = parser.parse_args()
    seconds = options.minutes * 60
    sizes = Sizes(seconds, options.alone, min(30, seconds / 12), options.idle, busy=options.busy)
    with tempfile.TemporaryDirectory() as folder:
        run = soak(sizes, Path(folder))
    found = rows(run)
    _show(run, found)
    if options.json:
        options.json.write_text(json.dumps(report(run), indent=1), "utf-8")
    if options.plot:
        from benchmarks.endurance_plot import draw

        draw(report(run), options.plot)
    return int(any(row.met is False for row in found))


def _show(run: Soaked, found: list[Row]) -> None:
    console = Console()
    rates = ", ".join(f"{name} {rate:.2f}/s" for name, rate in run.rates.items())
    title = f"{run.sizes.seconds / 60:g} minutes at {100 * run.sizes.busy:.0f} % of what the server can do\n{rates}"
    console.print(table(found, title))
    for what, count in endurance.errors(run.answers):
        console.print(f"{count} × {what}", markup=False)
    if run.disturbed:
        console.print(f"Disturbed: {run.disturbed}")


if __name__ == "__main__":
    sys.exit(main())
