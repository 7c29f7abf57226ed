"""Where the result of each passage of a request comes from, and one answer from all of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sekisho.contract import Counted, Inference, Rows, Timings
from sekisho.engine.flights import Flight
from sekisho.engine.results import Result


@dataclass(frozen=True, slots=True)
class Plan:
    """Every place of a request is in one of `kept`, `joined` and `own`.

    kept: place → its result. joined: flight → place → the flight's row.
    run: places of the texts that are computed here, each text once. own: place → row among these. keys: key → that row.
    """

    kept: dict[int, Result] = field(default_factory=dict)
    joined: dict[Flight, dict[int, int]] = field(default_factory=dict)
    run: list[int] = field(default_factory=list)
    own: dict[int, int] = field(default_factory=dict)
    keys: dict[bytes, int] = field(default_factory=dict)


def planned(
    keys: Sequence[bytes | None], found: Mapping[bytes, Result], flying: Callable[[bytes], Flight | None]
) -> Plan:
    """`keys`: of each passage; None for one that is computed whatever is known."""
    plan = Plan()
    for place, key in enumerate(keys):
        if key is None:
            plan.own[place] = len(plan.run)
            plan.run.append(place)
        elif (result := found.get(key)) is not None:
            plan.kept[place] = result
        elif key in plan.keys:
            plan.own[place] = plan.keys[key]
        elif (flight := flying(key)) is not None:
            plan.joined.setdefault(flight, {})[place] = flight.places[key]
        else:
            plan.own[place] = plan.keys[key] = len(plan.run)
            plan.run.append(place)
    return plan


@dataclass(frozen=True, slots=True)
class Part:
    """Some passages of a request in order, by their places in it: rows, norms and counts, as in `Inference`."""

    places: list[int]
    rows: Rows
    norms: Rows | None
    counts: Sequence[Counted]


def merged(plan: Plan, own: Inference | None, joined: Mapping[Flight, Inference], timings: Timings) -> Inference:
    """The answer to a request.

    own: of the texts that were run, None where there were none. joined: what the plan's flights gave.
    """
    parts = [_of_results(plan.kept)] if plan.kept else []
    parts += [_of_rows(own, plan.own)] if own is not None else []
    parts += [_of_rows(joined[flight], rows) for flight, rows in plan.joined.items()]
    whole = parts[0] if len(parts) == 1 else _ordered(parts)
    return Inference(
        rows=whole.rows,
        norms=whole.norms,
        tokens=sum(map(len, whole.counts)),
        truncated=sum(count.truncated for count in whole.counts),
        timings=timings,
        counts=whole.counts,
    )


def _of_results(kept: Mapping[int, Result]) -> Part:
    results = list(kept.values())
    if len(results) == 1:
        return Part(list(kept), results[0].rows, results[0].norms, results)
    norms = [result.norms for result in results if result.norms is not None]
    rows = np.concatenate([result.rows for result in results])
    return Part(list(kept), rows, np.concatenate(norms) if norms else None, results)


def _of_rows(inference: Inference, rows: Mapping[int, int]) -> Part:
    """For each place one of the rows of an answer."""
    chosen = list(rows.values())
    norms = None if inference.norms is None else inference.norms[chosen]
    return Part(list(rows), inference.rows[chosen], norms, [inference.counts[row] for row in chosen])


def _ordered(parts: Sequence[Part]) -> Part:
    """All of them as one, by place, as each of them is already."""
    places = [place for part in parts for place in part.places]
    order = np.argsort(places)
    counts = [count for part in parts for count in part.counts]
    norms = [part.norms for part in parts if part.norms is not None]
    return Part(
        sorted(places),
        np.concatenate([part.rows for part in parts])[order],
        np.concatenate(norms)[order] if norms else None,
        [counts[index] for index in order.tolist()],
    )
