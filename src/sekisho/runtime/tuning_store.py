"""What was measured of a prepared model, kept in its directory: one file for each machine that measured.

The directory's seal names the files it vouches for, and these are not among them; they go when the directory goes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path
from typing import Any

from sekisho.runtime.tuning import Tuning

#: Raised when what is measured, or how it is read, changes: older files are measured again.
_VERSION = 3

#: Everything about machine and engine that the figures depend on, as JSON has it.
Conditions = Mapping[str, str | int | float | None]


def read_tuning(directory: Path, conditions: Conditions) -> Tuning | None:
    """What was measured there under these conditions; None for nothing, and for whatever cannot be used."""
    try:
        held = json.loads(_path(directory, conditions).read_text("utf-8"))
        if held["version"] != _VERSION or held["conditions"] != dict(conditions):
            return None
        return _checked(Tuning(**held["tuning"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_tuning(directory: Path, conditions: Conditions, tuning: Tuning) -> None:
    """Whole or not at all, whoever else writes it. Raises OSError where the directory cannot be written."""
    held = {"version": _VERSION, "conditions": dict(conditions), "tuning": asdict(tuning)}
    handle, name = tempfile.mkstemp(prefix=".tuning-", dir=directory)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(held, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # a temporary file is its owner's alone, and servers of other users read this one
        os.replace(name, _path(directory, conditions))
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _path(directory: Path, conditions: Conditions) -> Path:
    digest = hashlib.sha256(json.dumps(dict(conditions), sort_keys=True).encode()).hexdigest()
    return directory / f"tuning-{digest[:16]}.json"


def _checked(tuning: Tuning) -> Tuning:
    """Raises TypeError or ValueError for what `write_tuning` never wrote."""
    kinds: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str}
    for field in fields(tuning):
        if type(getattr(tuning, field.name)) is not kinds[str(field.type)]:
            raise TypeError(field.name)
    date.fromisoformat(tuning.measured)
    costs = (tuning.fixed_tokens, tuning.place_tokens, tuning.square_tokens)
    counts = tuning.lanes >= 1 and tuning.threads >= 1 and tuning.wide >= 0
    if not (counts and tuning.tokens_per_second > 0 and all(x >= 0 for x in costs)):
        raise ValueError("no figures of a model that ran")
    return tuning
