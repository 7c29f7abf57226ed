"""The texts behind the goldens, read from texts.json beside this file.

An entry is `{"kind", "text"}`, or for a very long text `{"kind", "unit", "repeat"}`, which stands for
`unit` written `repeat` times without anything between.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TypedDict

TEXTS_PATH = Path(__file__).with_name("texts.json")


class Entry(TypedDict, total=False):
    """One item of texts.json as it is written there."""

    kind: str
    text: str
    unit: str
    repeat: int


def load_texts() -> list[str]:
    """All texts, expanded, in the order of the goldens' rows."""
    return [expand(entry) for entry in _entries()]


def load_kinds() -> list[str]:
    """The kind of each text, in the same order."""
    return [entry["kind"] for entry in _entries()]


def expand(entry: Entry) -> str:
    """The text an entry stands for."""
    return entry["text"] if "text" in entry else entry["unit"] * entry["repeat"]


@cache
def _entries() -> tuple[Entry, ...]:
    entries: list[Entry] = json.loads(TEXTS_PATH.read_text(encoding="utf-8"))
    return tuple(entries)
