"""What decides a model, and which file said it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from sekisho.assemble import Catalog
from sekisho.catalog.registry import Spec
from sekisho.contract import DYNAMIC_INT8, Numbers
from sekisho.errors import SekishoError

#: What the checkpoint decides where models.yaml is silent, and what the contract calls it.
_READ_FROM_CHECKPOINT = {
    "family": "family", "pooling": "pooling", "normalize": "normalized", "dimensions": "width",
    "max_tokens": "max_tokens", "parameters": "parameters",
}  # fmt: skip


#: What the numbers of a graph are called.
_NUMBERS: dict[Numbers, str] = {
    "float": "as the weights",
    "half": "fp16",
    "int8": "int8",
    "dynamic_int8": DYNAMIC_INT8,
}


def state(catalog: Catalog, spec: Spec) -> str:
    """How far a model is from being served, in a word or two; an error code where it cannot be told."""
    if spec.upstream is not None:
        return "upstream"
    if spec.source.hub is not None and spec.name not in catalog.lock.models:
        return "unpinned"
    try:
        return "prepared" if catalog.preparer.find(spec) else "not prepared"
    except SekishoError as error:
        return error.code


def explain(catalog: Catalog, spec: Spec) -> list[tuple[str, Any, str]]:
    """(key, value, origin) of everything that decides what this model gives."""
    condition = state(catalog, spec)
    prepared = catalog.preparer.find(spec) if condition == "prepared" else None
    contract = asdict(prepared.contract) if prepared is not None else {}
    origins = prepared.contract.origins if prepared is not None else {}
    rows: list[tuple[str, Any, str]] = []
    block = spec.model_dump(mode="json", exclude={"source"} if spec.upstream else None)
    for key, value in (block | {"keep_alive": _duration(spec.keep_alive)}).items():
        read = _READ_FROM_CHECKPOINT.get(key)
        if value is None and read is not None and spec.upstream is None:
            if contract.get(read) is not None:
                rows.append((key, contract[read], origins.get(read, "config.json")))
            else:
                rows.append((key, None, "the checkpoint, read when it is prepared"))
        elif value not in (None, [], {}):
            rows += _leaves(key, value, "models.yaml" if key in spec.model_fields_set else "default")
    locked = catalog.lock.models.get(spec.name)
    if locked is not None:
        size = sum(pin.size for pin in locked.files.values())
        rows.append(("files", f"{len(locked.files)} files, {size:,} bytes", "models.lock"))
    elif spec.source.hub is not None:
        rows.append(("files", "not pinned", f"not in models.lock: `sekisho lock {spec.name}` adds them"))
    if spec.upstream is None:
        choice = catalog.artifacts.graph(spec)
        rows.append(("graph", choice.onnx or "made here", choice.reason))
    others = [name for name in catalog.registry.names(spec)[1:] if name not in spec.aliases]
    if others:
        rows.append(("also called", others, "models.yaml: its `aliases`, and the id at its hub"))
    rows.append(("state", condition, "this machine"))
    rows += [
        (f"contract.{key}", contract[key], origins.get(key, "config.json"))
        for key in ("family", "width", "max_tokens", "pooling", "normalized", "parameters", "vocabulary")
        if contract
    ]
    if prepared is not None:
        rows.append(("contract.numbers", _NUMBERS[prepared.contract.numbers], origins.get("numbers", "the converter")))
    if "half" in origins:
        rows.append(("contract.half", "no", origins["half"]))
    if prepared is not None and prepared.contract.quality is not None:
        measured = asdict(prepared.contract.quality).items()
        rows += [(f"contract.quality.{key}", value, "measured against fp32 when prepared") for key, value in measured]
    return rows


def _duration(value: timedelta | None) -> str:
    """As models.yaml writes it: 15m, always."""
    if value is None:
        return "always"
    seconds = value.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _leaves(key: str, value: Any, origin: str) -> list[tuple[str, Any, str]]:
    """A mapping as a row for each of its keys that says something."""
    if not isinstance(value, dict):
        return [(key, value, origin)]
    return [
        row
        for name, inner in value.items()
        if inner not in (None, [], {}) and (inner != "" or key == "prompts")
        for row in _leaves(f"{key}.{name}", inner, origin)
    ]
