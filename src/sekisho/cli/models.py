"""`sekisho models`: the registry as a table, and one model explained."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from sekisho.assemble import Catalog, open_catalog
from sekisho.cli.console import columns, out, print_table
from sekisho.cli.explain import explain, state
from sekisho.cli.options import AsJson, ModelsFile, settings_from

#: From here on the catalogue fits with every name in one piece.
_WHOLE_NAMES = 100

app = typer.Typer(help="The registry.", invoke_without_command=True)


@app.callback()
def _models(context: typer.Context, models: ModelsFile = None, as_json: AsJson = False) -> None:
    context.obj = models
    if context.invoked_subcommand is None:
        _print_models(open_catalog(settings_from(models=models)), as_json=as_json)


@app.command("list")
def list_models(context: typer.Context, models: ModelsFile = None, as_json: AsJson = False) -> None:
    """The registry as a table."""
    _print_models(open_catalog(settings_from(models=models or context.obj)), as_json=as_json)


@app.command("show")
def show_model(context: typer.Context, name: str, models: ModelsFile = None, as_json: AsJson = False) -> None:
    """One model: each value and where it came from."""
    catalog = open_catalog(settings_from(models=models or context.obj))
    spec = catalog.registry.find(name)
    rows = explain(catalog, spec)
    if as_json:
        out.print_json(
            json.dumps({key: {"value": value, "origin": origin} for key, value, origin in rows}, default=str)
        )
        return
    table = Table(title=spec.name, title_justify="left")
    for heading in ("key", "value", "from"):
        table.add_column(heading, overflow="fold")
    for key, value, origin in rows:
        table.add_row(key, Text(_written(value)), origin)
    print_table(table)


def _print_models(catalog: Catalog, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        {
            "name": spec.name,
            "kind": spec.kind,
            "parameters": spec.parameters,
            "dimensions": spec.dimensions,
            "matryoshka": list(spec.matryoshka),
            "max_tokens": spec.max_tokens,
            "languages": list(spec.languages),
            "license": spec.license,
            "state": state(catalog, spec),
            "pinned": catalog.pinned(spec),
            "revision": spec.source.revision,
            "default": catalog.registry.default_name(spec.kind) in catalog.registry.names(spec),
            "aliases": catalog.registry.names(spec)[1:],
        }
        for spec in catalog.registry
    ]
    if as_json:
        out.print_json(json.dumps(rows, ensure_ascii=False))
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    folded = {"licence"} if columns() >= _WHOLE_NAMES else {"name", "licence"}
    for heading in ("name", "kind", "size", "dims", "context", "languages", "licence", "state", "pinned"):
        numbers = heading in {"size", "dims", "context"}
        table.add_column(
            heading, justify="right" if numbers else "left", no_wrap=heading not in folded, overflow="fold"
        )
    for row in rows:
        table.add_row(
            row["name"], row["kind"], _millions(row["parameters"]), _shown(row["dimensions"]),
            _shown(row["max_tokens"]), " ".join("+" if code == "mul" else code for code in row["languages"]),
            _shown(row["license"]), row["state"].replace("not ", "un"),
            "" if row["pinned"] is None else "yes" if row["pinned"] else "no",
        )  # fmt: skip
    print_table(table)


def _millions(parameters: int | None) -> str:
    """36_705_536 → 36.7M: parameters, not bytes."""
    if parameters is None:
        return ""
    if parameters >= 1_000_000_000:
        return f"{parameters / 1e9:.1f}B"
    millions = parameters / 1e6
    return f"{millions:.1f}M" if millions < 100 else f"{millions:.0f}M"


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _written(value: object) -> str:
    """As models.yaml would have it; texts that are empty or end in a space in quotes, so that it is seen."""
    if isinstance(value, list):
        return ", ".join(map(_written, value))
    if isinstance(value, dict):
        return " ".join(f"{key} {_written(inner)}" for key, inner in value.items() if inner is not None)
    if value is None:
        return "not known yet"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    quoted = isinstance(value, str) and (not value or value != value.strip() or "\n" in value)
    return json.dumps(value, ensure_ascii=False) if quoted else _shown(value)
