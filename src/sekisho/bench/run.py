"""A run from beginning to end: which figures, on which servers, and what disturbed each of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import sekisho
from sekisho.bench import against, curve, disturbance, lasting, mixed, single, stages, throughput
from sekisho.bench.figures import Row, percentage_apart
from sekisho.bench.ideal import Ideal
from sekisho.bench.limit import Limit
from sekisho.bench.mix import USUAL, texts
from sekisho.bench.open_files import allow_many
from sekisho.bench.plan import Endpoint
from sekisho.bench.report import Report
from sekisho.bench.server import Served
from sekisho.bench.server import sekisho as serve
from sekisho.bench.stand import Say, Sizes, Stand
from sekisho.catalog.registry import Spec
from sekisho.runtime.machine import this_machine
from sekisho.settings import Settings

#: The bars that are measured here.
OWN = ("P1", "P2", "P5", "P8", "P9", "P10", "P11", "P14", "P15")
#: A vector under load may be so far from that of the same text alone, in any number of it.
_MOST_APART = 1e-6

#: Measures some rows, and may add curves to the report.
Section = Callable[[Report, Stand], list[Row]]


@dataclass(frozen=True)
class Wanted:
    """What a run is asked for: which bars, on how much, and what else is measured beside our server."""

    bars: Collection[str] = OWN
    sizes: Sizes = field(default_factory=Sizes)
    more: Sequence[Section] = ()

    def any(self, *bars: str) -> bool:
        return any(bar in self.bars for bar in bars)


def measure(settings: Settings, spec: Spec, wanted: Wanted, say: Say) -> Report:
    """Raises ServerFailed, LoadFailed, and what preparing and loading a model raise."""
    allow_many()
    say(f"loading {spec.name}")
    ideal = Ideal(settings, spec)
    try:
        report = Report(_about(spec, ideal))
        start = starter(settings, spec, ideal)
        if wanted.any("P10"):
            say("starts of the server")
            watch(report, lambda: lasting.start_rows(lasting.first_vectors(start, wanted.sizes.starts)))
        if wanted.more or any(wanted.any(*bars) for bars, _ in _SECTIONS):
            with start() as served:
                _beside(report, Stand(ideal, served, _texts(wanted, ideal), wanted.sizes, say), wanted)
        if wanted.any("P11"):
            with start() as served:
                watch(report, lambda: _memory(report, served, ideal, wanted.sizes, say))
    finally:
        ideal.close()
    return report


def starter(settings: Settings, spec: Spec, ideal: Ideal) -> lasting.Start:
    """Starts a server of this model under these settings."""
    variables = {"SEKISHO_CACHE_MIB": "0"}  # what is measured is the work, not what is remembered of it
    if settings.models is not None:
        variables["SEKISHO_MODELS"] = str(settings.models.absolute())
    key = settings.api_keys[0].get_secret_value() if settings.api_keys else None
    return lambda: serve(spec.name, variables, key=key, width=ideal.contract.width)


def _about(spec: Spec, ideal: Ideal) -> dict[str, str]:
    machine, choice = this_machine(), ideal.choice
    how = f"{choice.engine} {choice.precision}, {choice.lanes} × {choice.threads} threads"
    return {
        "Sekisho": f"{sekisho.__version__}, {spec.name}, {how}",
        "machine": f"{machine.processor}, {machine.cores} cores",
        "begun": time.strftime("%Y-%m-%d %H:%M:%S"),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _texts(wanted: Wanted, ideal: Ideal) -> list[str]:
    sizes = wanted.sizes
    lengths = replace(USUAL, limit=ideal.contract.max_tokens)
    return texts(max(sizes.bulk, sizes.single, sizes.curve, sizes.alone), lengths=lengths)


def watch(report: Report, measuring: Callable[[], list[Row]]) -> None:
    """Adds the rows that are measured to the report, with what else ran meanwhile."""
    before = disturbance.now()
    rows = measuring()
    told = disturbance.told(before, disturbance.now(), os.cpu_count() or 1)
    report.rows += [replace(row, disturbed="; ".join(filter(None, (row.disturbed, told)))) for row in rows]


def _beside(report: Report, stand: Stand, wanted: Wanted) -> None:
    """All that is measured on one server beside the ideal."""
    stand.say("warming")
    stand.warm()
    stand.sizes = wanted.sizes.at(stand.ideal_tokens_per_second())
    for section in (*(section for bars, section in _SECTIONS if wanted.any(*bars)), *wanted.more):
        watch(report, partial(section, report, stand))
    report.rows += _sameness(stand)


def _throughput(_report: Report, stand: Stand) -> list[Row]:
    limit = Limit(stand.ideal, stand.encoded)
    rounds = throughput.measure(stand, limit.look)
    drift = percentage_apart([speed for each in rounds for speed in each.ideals])
    told = f"the ideal drifted by {drift:.0f} %" if drift > disturbance.MOST_DRIFT else ""
    rows = throughput.rows(rounds) + limit.rows([each.bulk for each in rounds])
    return [replace(row, disturbed=told) for row in rows]


def _alone(report: Report, stand: Stand) -> list[Row]:
    rows = single.time_rows(single.alone(stand))
    report.stages = stages.measure(stand)
    return rows


def _cpu(_report: Report, stand: Stand) -> list[Row]:
    return single.cpu_rows(single.spent(stand, single.MANY), single.spent(stand, 1))


def _curve(report: Report, stand: Stand) -> list[Row]:
    curves = curve.measure(stand)
    report.curves["Sekisho"] = curve.medians(curves)
    return curve.rows(curves)


def _mixed(_report: Report, stand: Stand) -> list[Row]:
    return mixed.rows(mixed.measure(stand))


def other_server(other: Endpoint, make: against.Make | None, report: Report, stand: Stand) -> list[Row]:
    """Another server beside ours, and its curve where ours is drawn too; but for the first two, a section."""
    duels = against.measure(stand, other)
    if report.curves:
        report.curves[other.name] = against.other_curve(stand, other)
    return against.rows(other.name, duels, against.nearness(stand, other), make)


def _sameness(stand: Stand) -> list[Row]:
    """Of all loads that kept vectors."""
    if not stand.kept:
        return []
    stand.say("the same texts alone")
    same = stand.kept.compare()
    note = f"{same.texts} vectors, lowest cosine {same.cosine:.7f}"
    what = "largest difference of a vector under load to the same text alone"
    return [Row("", what, (same.apart,), limit=_MOST_APART, note=note)]


def _memory(report: Report, served: Served, ideal: Ideal, sizes: Sizes, say: Say) -> list[Row]:
    say(f"memory over {sizes.lasting:,} texts")
    found = lasting.memory(served, sizes.lasting, ideal.contract.max_tokens)
    report.memory = found.samples
    return lasting.memory_rows(found)


#: What is measured on a server beside its ideal, by the bars that need it.
_SECTIONS: tuple[tuple[tuple[str, ...], Section], ...] = (
    (("P1", "P2", "P15"), _throughput),
    (("P5",), _alone),
    (("P9",), _cpu),
    (("P14",), _curve),
    (("P8",), _mixed),
)
