"""`sekisho cache`: what is prepared on this machine, and removing what is old."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.table import Table

from sekisho.assemble import open_catalog
from sekisho.catalog.cache import Version, remove, versions
from sekisho.cli.console import out, print_table
from sekisho.cli.options import AsJson, ModelsFile, settings_from
from sekisho.errors import SekishoError
from sekisho.settings import Settings

app = typer.Typer(help="What is prepared on this machine.", invoke_without_command=True)


@app.callback()
def _cache(context: typer.Context, models: ModelsFile = None, as_json: AsJson = False) -> None:
    context.obj = models
    if context.invoked_subcommand is None:
        rows = [_described(version) for version in _versions(settings_from(models=models))]
        if as_json:
            out.print_json(json.dumps(rows))
            return
        table = Table()
        for heading in ("model", "version", "state", "size", "age", "in use"):
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(
                row["model"], row["version"], row["state"], _size(row["bytes"]), _age(row["age_seconds"]),
                "yes" if row["in_use"] else "no",
            )  # fmt: skip
        print_table(table)


@app.command("prune")
def prune_cache(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and leave it")] = False,
    models: ModelsFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove what no model of the registry leads to any more: old versions, remains, unfinished downloads."""
    from sekisho.catalog.hub import remove_partials

    rows = []
    for version in _versions(settings_from(models=models or context.obj)):
        if version.state != "current":
            gone = not version.used if dry_run else remove(version)
            rows.append(_described(version) | {"removed": gone and not dry_run, "in_use": not gone})
    rows += [
        {"model": model, "version": "-", "state": "unfinished download", "bytes": size, "removed": not dry_run,
         "in_use": False}
        for model, size in remove_partials(dry_run=dry_run)
    ]  # fmt: skip
    if as_json:
        out.print_json(json.dumps(rows))
        return
    for row in rows:
        done = "in use, kept" if row["in_use"] else "removed" if row["removed"] else "would be removed"
        out.print(f"{row['model']} {row['version']} ({row['state']}, {_size(row['bytes'])}): {done}", highlight=False)
    freed = sum(row["bytes"] for row in rows if not row["in_use"])
    out.print(f"{_size(freed)} {'would be freed' if dry_run else 'freed'}", highlight=False)


def _versions(settings: Settings) -> list[Version]:
    catalog, current = open_catalog(settings), set()
    for spec in catalog.registry:
        with suppress(SekishoError):  # what is not pinned has no version
            current.add(catalog.preparer.target(spec))
    return versions(settings.home, current)


def _described(version: Version) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.directory.name,
        "state": version.state,
        "bytes": version.size,
        "age_seconds": max(0, round(time.time() - version.changed)),
        "in_use": version.used,
    }


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


def _age(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
