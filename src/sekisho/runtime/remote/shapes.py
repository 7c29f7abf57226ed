"""Shapes that several APIs share: vectors and scores that say which input they are of, and the tokens they cost."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np

from sekisho.contract import Rows
from sekisho.runtime.remote.dialect import Garbage


def member(values: Any, name: str) -> Any:
    """The member of that name of a JSON object. Raises Garbage."""
    if not isinstance(values, dict) or name not in values:
        raise Garbage(f"without {name!r}")
    return values[name]


def listed(values: Any, name: str, count: int) -> list[Any]:
    """A JSON list of exactly this many. Raises Garbage."""
    if not isinstance(values, list):
        raise Garbage(f"whose {name!r} is no list")
    if len(values) != count:
        raise Garbage(f"with {len(values)} {name!r} for {count} inputs")
    return values


def in_order(items: Sequence[Any], count: int) -> list[Any]:
    """Items in the order of the inputs: by their `index`, or as they come where none has one. Raises Garbage."""
    places = [item.get("index") if isinstance(item, dict) else None for item in items]
    if all(place is None for place in places):
        return list(items)
    found = {place: item for place, item in zip(places, items, strict=True) if type(place) is int}
    if found.keys() != set(range(count)):
        raise Garbage("whose indices are not those of the inputs, each once")
    return [found[place] for place in range(count)]


def vectors(values: Sequence[Any]) -> Rows:
    """Vectors as lists of numbers, or as base64 of little-endian float32 → float32 [vectors, width]. Raises Garbage."""
    rows = [_vector(value) for value in values]
    if len({row.shape for row in rows}) != 1 or rows[0].ndim != 1 or not rows[0].size:
        raise Garbage("with vectors of different widths, or of none")
    return _finite(np.stack(rows))


def scores(values: Sequence[Any]) -> Rows:
    """Numbers → float32 [numbers, 1]. Raises Garbage."""
    if not all(type(value) in {int, float} for value in values):
        raise Garbage("with a score that is no number")
    return _finite(_float32(values)[:, None])


def tokens(values: Any, *names: str) -> int | None:
    """The first of these members, each a path with dots, that is a number of tokens; None where there is none."""
    for name in names:
        found = values
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if type(found) is int and found >= 0:
            return found
        if isinstance(found, float) and found.is_integer() and found >= 0:
            return int(found)
    return None


def _vector(value: Any) -> Rows:
    try:
        if isinstance(value, str):
            return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
        if isinstance(value, list):
            return _float32(value)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        pass
    raise Garbage("with a vector that is neither numbers nor base64 of float32")


def _float32(numbers: Sequence[Any]) -> Rows:
    """What is too large for float32 becomes infinite, and is refused as such."""
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float32)


def _finite(rows: Rows) -> Rows:
    if not np.isfinite(rows).all():
        raise Garbage("with numbers that are not finite")
    return rows
