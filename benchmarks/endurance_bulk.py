"""100,000 texts at once through HTTP without a limit of the client's: nothing lost, in order, memory before and after.

All requests are sent at once; a 429 is sent again after its Retry-After. Then single queries, at random moments, with a
bulk job beside them and without, in turns. Then a server that nobody asks anything. Result caches are off.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.endurance import errors
from benchmarks.endurance_plan import Answered, Kept, LoadPlan, Record, Stream
from benchmarks.endurance_server import (
    AUTO,
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

_WARM = Stream("warm", "embed", AUTO, 64, clients=4, requests=24)


@dataclass(frozen=True)
class Sizes:
    """texts: of the large job; size: texts of its requests; connections: at most so many requests on their way.

    job: texts of the job beside single queries; rate: of these, a second; rounds: with it and without.
    idle: seconds.
    """

    texts: int = 100_000
    size: int = 1000
    connections: int = 1000
    job: int = 10_000
    rate: float = 20.0
    rounds: int = 3
    idle: float = 30.0


@dataclass(frozen=True)
class Large:
    """What came of the large job. before, after: MiB resident of the server when nothing ran."""

    answers: list[Answered]
    samples: list[Sample]
    before: float
    after: float
    sameness: dict[str, Sameness]

    @property
    def texts(self) -> int:
        return sum(one.texts for one in self.answers if not one.wrong)

    @property
    def seconds(self) -> float:
        return max(one.at + one.milliseconds / 1000 for one in self.answers)


@dataclass(frozen=True)
class Beside:
    """p99 of single queries, in milliseconds, of `singles` of them, while a job ran and while none did."""

    busy: float
    quiet: float
    singles: int


def large(served: Served, sizes: Sizes, folder: Path) -> Large:
    """The large job, once."""
    stream = _job(sizes.texts, sizes)
    plan = LoadPlan(served.endpoint.port, (stream,), folder / "large", texts=sizes.texts, seed=2, retry=True)
    load(LoadPlan(plan.port, (_WARM,), folder / "warm", texts=2000, kept=0))
    before = served.resident_mib
    with Sampler(served, 0.5) as sampler:
        records = load(plan)
    found = compare(plan.port, plan, [record for record in records if isinstance(record, Kept)])
    return Large(_answers(records), sampler.samples, before, served.resident_mib, found)


def _job(texts: int, sizes: Sizes) -> Stream:
    requests = math.ceil(texts / sizes.size)
    return Stream("job", "embed", AUTO, sizes.size, clients=min(requests, sizes.connections), requests=requests)


def _answers(records: list[Record]) -> list[Answered]:
    return [record for record in records if isinstance(record, Answered)]


def beside(served: Served, sizes: Sizes, seconds: float, folder: Path) -> Iterator[Beside]:
    """seconds: that the job takes, roughly."""
    singles = Stream("singles", "embed", AUTO, rate=sizes.rate)
    for number in range(sizes.rounds):
        found = []
        for streams in ((singles,), (singles, _job(sizes.job, sizes))):
            plan = LoadPlan(served.endpoint.port, streams, folder / "beside", seconds, seed=3 + number, kept=0)
            answers = _answers(load(plan))
            if wrong := errors(answers):
                raise RuntimeError(f"beside a job: {wrong}")
            found.append(_while_job_ran(answers))
        quiet, busy = found
        yield Beside(quantile(busy, 0.99), quantile(quiet, 0.99), len(busy))


def _while_job_ran(answers: list[Answered]) -> list[float]:
    """Milliseconds of the single queries that were due before the job's last answer, or of all where there is none."""
    over = max((one.at + one.milliseconds / 1000 for one in answers if one.stream == "job"), default=math.inf)
    return [one.milliseconds for one in answers if one.stream == "singles" and one.at < over]


def rows(job: Large, pairs: list[Beside], sizes: Sizes, idling: float) -> list[Row]:
    """The table."""
    lost, refused = sizes.texts - job.texts, sum(one.refused for one in job.answers)
    peak = max((sample.resident_mib for sample in job.samples), default=job.after)
    return [
        Row("", "texts answered, each in its place", (job.texts,), limit=sizes.texts, at_least=True),
        Row("", "lost", (lost,), limit=0),
        Row("", "answers of 429, sent again", (refused,)),
        Row("", "texts/s", (job.texts / job.seconds,), note=f"{job.seconds:.1f} s"),
        *(same(model, found) for model, found in job.sameness.items()),
        Row("", "resident memory before the job", (job.before,), "MiB"),
        Row("", "most while it ran", (peak,), "MiB"),
        Row("P11", "after it", (job.after,), "MiB", 450.0, note=f"× {job.after / job.before:.2f}"),
        Row("", "p99 of single queries alone", tuple(pair.quiet for pair in pairs), "ms", note=_singles(pairs)),
        Row("", f"p99 beside a job of {sizes.job:,} texts", tuple(pair.busy for pair in pairs), "ms"),
        Row("P8", "÷", tuple(pair.busy / pair.quiet for pair in pairs), "×", 3.0),
        idle(idling),
    ]


def _singles(pairs: list[Beside]) -> str:
    return f"{', '.join(str(pair.singles) for pair in pairs)} queries"


def main() -> int:
    """The command line; 1 where a bar is not met."""
    options = _options()
    sizes = Sizes(options.texts, options.size, options.connections, options.job, options.rate, idle=options.idle)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with sekisho(AUTO, prepared(folder / "home", write_registry(folder), AUTO), width=384) as served:
            before = disturbance.now()
            job = large(served, sizes, folder)
            seconds = 0.9 * sizes.job * job.seconds / max(job.texts, 1)
            pairs = list(beside(served, sizes, seconds, folder))
            idling = idle_share(served, sizes.idle)
            disturbed = disturbance.told(before, disturbance.now(), os.cpu_count() or 1)
    found = rows(job, pairs, sizes, idling)
    console = Console()
    console.print(table(found, f"{sizes.texts:,} texts, {sizes.size:,} a request, all at once"))
    for what, count in errors(job.answers):
        console.print(f"{count} × {what}", markup=False)
    if disturbed:
        console.print(f"Disturbed: {disturbed}")
    if options.json:
        written = {"sizes": asdict(sizes), "rows": [row.as_json() for row in found], "disturbed": disturbed}
        written |= {"samples": [asdict(sample) for sample in job.samples]}
        options.json.write_text(json.dumps(written, indent=1), "utf-8")
    return int(any(row.met is False for row in found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bulk-proof", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=Sizes.texts)
    parser.add_argument("--size", type=int, default=Sizes.size, help="texts of a request")
    parser.add_argument("--connections", type=int, default=Sizes.connections)
    parser.add_argument("--job", type=int, default=Sizes.job, help="texts of the job beside single queries")
    parser.add_argument("--rate", type=float, default=Sizes.rate, help="single queries a second")
    parser.add_argument("--idle", type=float, default=Sizes.idle, help="seconds of rest afterwards")
    parser.add_argument("--json", type=Path, help="write everything here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
