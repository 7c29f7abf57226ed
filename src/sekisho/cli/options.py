"""Options that commands share, and what they lead to: settings, and the models that are meant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sekisho.assemble import Catalog
from sekisho.catalog.registry import Spec
from sekisho.cli.console import Failed
from sekisho.observability import configure_logging
from sekisho.settings import Settings

ModelsFile = Annotated[Path | None, typer.Option("--models", help="Registry file (SEKISHO_MODELS)")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts")]
Names = Annotated[list[str] | None, typer.Argument(help="Names or aliases of models")]
All = Annotated[bool, typer.Option("--all", help="Every model of the registry")]


def settings_from(**given: Any) -> Settings:
    """The environment's settings under a command's flags; logs go to stderr from here on."""
    settings = Settings(**{key: value for key, value in given.items() if value is not None})
    configure_logging(settings)
    return settings


def chosen(catalog: Catalog, names: list[str] | None, *, every: bool) -> list[Spec]:
    """The models that are named, or all that have files here."""
    if every:
        return [spec for spec in catalog.registry if spec.upstream is None]
    if not names:
        raise Failed(f"name a model, or --all. Models: {', '.join(spec.name for spec in catalog.registry)}")
    chosen = [catalog.registry.find(name) for name in names]
    for spec in chosen:
        if spec.upstream is not None:
            raise Failed(f"{spec.name!r} {elsewhere(spec)}: it has no files here")
    return chosen


def elsewhere(spec: Spec) -> str | None:
    """Where a model runs that has no files here."""
    return f"runs at another service ({', '.join(spec.upstream.base_url)})" if spec.upstream is not None else None
