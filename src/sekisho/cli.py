"""The command line. Exit status: 0 done, 1 failed, 2 wrong use. Errors are one line on stderr that says what to do."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import sekisho
from sekisho.assemble import Catalog, assemble, open_catalog
from sekisho.catalog.cache import Version, remove, versions
from sekisho.catalog.lockfile import Lock, load_lock, lock_path, write_lock
from sekisho.catalog.registry import Spec
from sekisho.errors import RegistryInvalid, SekishoError, SourceUnreachable
from sekisho.observability import configure_logging
from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import choose
from sekisho.settings import Settings

if TYPE_CHECKING:
    from sekisho.service.selfcheck import Report

app = typer.Typer(
    name="sekisho",
    help="Embeddings for every OpenAI-compatible client, from pinned models, without PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The registry.", invoke_without_command=True)
app.add_typer(models_app, name="models")
cache_app = typer.Typer(help="What is prepared on this machine.", invoke_without_command=True)
app.add_typer(cache_app, name="cache")

out = Console()
err = Console(stderr=True)

ModelsFile = Annotated[Path | None, typer.Option("--models", help="Registry file (SEKISHO_MODELS)")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts")]
Names = Annotated[list[str] | None, typer.Argument(help="Names or aliases of models")]
All = Annotated[bool, typer.Option("--all", help="Every model of the registry")]


class _Failed(Exception):
    """A command's own failure, told in one line."""


def main() -> None:
    """The console entry point."""
    try:
        app()
    except (SekishoError, RegistryInvalid, _Failed) as error:
        err.print(f"sekisho: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        err.print(f"sekisho: {where}{error.strerror or error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]).upper()
        got = problem["input"]
        err.print(f"sekisho: setting {where}: {problem['msg']}, got {got!r}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    if version:
        out.print(f"sekisho {sekisho.__version__}", highlight=False)
        raise typer.Exit


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (HOST)")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (PORT, APP_PORT)")] = None,
    models: ModelsFile = None,
    engine: Annotated[str | None, typer.Option(help="auto, onnxruntime or openvino (SEKISHO_ENGINE)")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads for inference (SEKISHO_THREADS)")] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="No network call at all (SEKISHO_OFFLINE)")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json (SEKISHO_LOG_FORMAT)")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error (SEKISHO_LOG_LEVEL)")] = None,
) -> None:
    """Run the server."""
    from sekisho.http.server import CannotServe, check_exposure, listen
    from sekisho.http.server import serve as run

    settings = _settings(
        host=host, port=port, models=models, engine=engine, threads=threads, offline=offline, log_format=log_format,
        log_level=log_level,
    )  # fmt: skip
    try:
        check_exposure(settings.host, has_keys=bool(settings.api_keys), anonymous=settings.anonymous)
        parts = assemble(settings)
        listening = listen(settings.host, settings.port)
    except CannotServe as error:
        raise _Failed(str(error)) from None
    _greet(settings, parts.catalog, listening.getsockname()[1])
    run(parts, listening)


@models_app.callback()
def _models(context: typer.Context, models: ModelsFile = None, as_json: AsJson = False) -> None:
    context.obj = models
    if context.invoked_subcommand is None:
        _print_models(open_catalog(_settings(models=models)), as_json=as_json)


@models_app.command("list")
def list_models(context: typer.Context, models: ModelsFile = None, as_json: AsJson = False) -> None:
    """The registry as a table."""
    _print_models(open_catalog(_settings(models=models or context.obj)), as_json=as_json)


@models_app.command("show")
def show_model(context: typer.Context, name: str, models: ModelsFile = None, as_json: AsJson = False) -> None:
    """One model: each value and where it came from."""
    catalog = open_catalog(_settings(models=models or context.obj))
    spec = catalog.registry.find(name)
    rows = _explain(catalog, spec)
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
    out.print(table)


@app.command()
def pull(names: Names = None, every: All = False, models: ModelsFile = None, as_json: AsJson = False) -> None:
    """Fetch, verify and convert models, so that serving them needs no network and no time."""
    catalog = open_catalog(_settings(models=models))
    results: list[dict[str, Any]] = []
    for spec in _chosen(catalog, names, every=every):
        with _progress(as_json) as bars:
            try:
                prepared = catalog.preparer.prepare(spec, bars.show)
                results.append({"model": spec.name, "ok": True, "seconds": round(prepared.seconds, 2)})
            except SekishoError as error:
                results.append({"model": spec.name, "ok": False, "error": error.message})
    _report(results, "ready", as_json=as_json)


@app.command()
def verify(names: Names = None, models: ModelsFile = None, as_json: AsJson = False) -> None:
    """Hash what is on disk again: the model's files against the lock, and what was prepared from them."""
    catalog = open_catalog(_settings(models=models))
    results = [_verified(catalog, spec) for spec in _chosen(catalog, names, every=not names)]
    _report(results, "verified", as_json=as_json)


def _verified(catalog: Catalog, spec: Spec) -> dict[str, Any]:
    """Without the network. A prepared model that is whole needs its files no longer."""
    whole = False
    try:
        whole = catalog.preparer.find(spec) is not None
        files = len(catalog.artifacts.verified(spec, catalog.lock.models.get(spec.name), fetch=False))
    except SourceUnreachable as error:
        if not whole:
            return {"model": spec.name, "ok": False, "error": error.message}
        files = 0
    except SekishoError as error:
        return {"model": spec.name, "ok": False, "error": error.message}
    prepared = "whole" if whole else "not prepared, or damaged and made anew on next use"
    return {"model": spec.name, "ok": True, "files": files, "prepared": prepared}


@app.command()
def lock(
    names: Names = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit to pin one hub model at; resolved to its full commit")
    ] = None,
    models: ModelsFile = None,
) -> None:
    """Pin models: write size and sha256 of every file they need into models.lock."""
    catalog = open_catalog(_settings(models=models))
    chosen = _chosen(catalog, names, every=not names)
    if revision is not None and (len(chosen) != 1 or chosen[0].source.hub is None):
        raise _Failed("--revision pins one model from a hub: name it")
    failures = [failure for spec in chosen if (failure := _lock_one(catalog, spec, revision))]
    _report(failures, "locked", as_json=False)


def _lock_one(catalog: Catalog, spec: Spec, revision: str | None) -> dict[str, Any] | None:
    """Lock and write one model; what to report where that failed."""
    known = {spec.name for spec in catalog.registry}
    if not spec.pinned and revision is None:
        advice = f"give its `source` a full commit in {catalog.path}, which `sekisho lock {spec.name} --revision main`"
        return {"model": spec.name, "ok": False, "error": f"{spec.name!r} names no revision: {advice} finds"}
    try:
        with _progress(quiet=False) as bars:
            locked = catalog.artifacts.lock(spec, revision, bars.show)
    except SekishoError as error:
        return {"model": spec.name, "ok": False, "error": error.message}
    # Read anew and written model by model: a failure later on, or another `sekisho lock`, loses nothing.
    there = load_lock(lock_path(catalog.path)).models
    kept = {name: model for name, model in there.items() if name in known} | {spec.name: locked}
    write_lock(lock_path(catalog.path), Lock(models=kept))
    out.print(f"locked {spec.name}: {len(locked.files)} files", highlight=False)
    if locked.revision != spec.source.revision:
        out.print(
            f"write into {catalog.path}, under `source` of {spec.name!r}:\n      revision: {locked.revision}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip
    return None


@cache_app.callback()
def _cache(context: typer.Context, models: ModelsFile = None, as_json: AsJson = False) -> None:
    context.obj = models
    if context.invoked_subcommand is None:
        rows = [_described(version) for version in _versions(_settings(models=models))]
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
        out.print(table)


@cache_app.command("prune")
def prune_cache(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and leave it")] = False,
    models: ModelsFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove what no model of the registry leads to any more: old versions, remains, unfinished downloads."""
    from sekisho.catalog.hub import remove_partials

    rows = []
    for version in _versions(_settings(models=models or context.obj)):
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


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="Checkpoint directory: config.json, model.safetensors, tokenizer.json")
    ],
    target: Annotated[Path, typer.Argument(help="Directory to make")],
    pooling: Annotated[str | None, typer.Option(help="mean, cls, max, last, weighted_mean")] = None,
    normalize: Annotated[bool | None, typer.Option(help="L2-normalise inside the graph")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=2, help="Longest input")] = None,
    family: Annotated[str | None, typer.Option(help="Where config.json has no model_type")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a checkpoint directory into a prepared model, with no hub and no registry."""
    try:
        from sekisho.convert.build import convert_directory
        from sekisho.convert.decisions import Choices
    except ImportError as error:
        raise _Failed(
            f"the converter is not installed: pip install 'sekisho[convert]' (missing: {error.name})"
        ) from None
    choices = Choices(family=family, pooling=pooling, normalize=normalize, max_tokens=max_tokens)  # type: ignore[arg-type]  # checked there
    with _progress(as_json) as bars:
        contract = convert_directory(source, target, choices, lambda done, size: bars.show("convert", done, size))
    if as_json:
        out.print_json(json.dumps(asdict(contract)))
    else:
        out.print(
            f"{contract.family}, {contract.parameters:,} parameters, {contract.width} dimensions → {target}",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip


@app.command()
def embed(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; left out: one a line from stdin or --file")] = None,
    model: Annotated[str | None, typer.Option(help="Name or alias; left out: the default model")] = None,
    input_type: Annotated[str | None, typer.Option(help="query, document, …")] = None,
    dimensions: Annotated[int | None, typer.Option(help="Cut the vectors")] = None,
    file: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A file with a text a line")] = None,
    models: ModelsFile = None,
) -> None:
    """Texts to vectors without a server: JSON lines {"text", "embedding"} on stdout."""
    from sekisho.service.embed import EmbedRequest

    settings = _settings(models=models)
    given = texts or _lines(file)
    if not given:
        raise _Failed("no texts: give them as arguments, on stdin, or with --file")
    request = EmbedRequest(given, model=model, kind=input_type, dimensions=dimensions)

    async def run() -> None:
        parts = assemble(settings)
        try:
            result = await parts.embed.embed(request)
        finally:
            await parts.pool.close()
        for text, row in zip(given, result.rows, strict=True):
            sys.stdout.write(
                json.dumps({"text": text, "embedding": [float(x) for x in row]}, ensure_ascii=False) + "\n"
            )

    asyncio.run(run())


@app.command()
def selfcheck(
    names: Names = None,
    every: All = False,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16, in place of the registry's")] = None,
    jsts: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JGLUE's JSTS validation file, for its correlation")
    ] = None,
    models: ModelsFile = None,
    as_json: AsJson = False,
) -> None:
    """Run the examples that the models' authors printed, and compare with their numbers."""
    from sekisho.service.selfcheck import Arithmetic, SelfCheck

    if precision not in {None, "fp32", "bf16"}:
        raise typer.BadParameter("fp32 or bf16", param_hint="--precision")
    settings = _settings(models=models)

    async def run() -> list[tuple[str, Report]]:
        parts = assemble(settings)
        changes = {"keep_alive": timedelta(0)} | ({"precision": precision} if precision else {})
        registry = parts.catalog.registry.altered(**changes)
        check = SelfCheck(registry, parts.pool, jsts=jsts)
        reports = []
        try:
            for spec in _chosen(parts.catalog, names, every=every):
                choice = choose(this_machine(), settings.engine, registry.find(spec.name).precision, settings.threads)
                arithmetic: Arithmetic = "fp32" if choice.precision == "fp32" else "half"
                report = await check.check(registry.find(spec.name), arithmetic)
                reports.append((f"{choice.precision}, {choice.engine}", report))
        finally:
            await parts.pool.close()
        return reports

    reports = asyncio.run(run())
    if as_json:
        out.print_json(json.dumps([asdict(report) | {"engine": engine} for engine, report in reports]))
    else:
        for engine, report in reports:
            _print_report(engine, report)
    if any(report.status in {"mismatch", "unavailable"} for _, report in reports):
        raise typer.Exit(1)


def _print_report(engine: str, report: Report) -> None:
    where = f" ({engine})" if report.results else ""
    told = {"unpublished": ": no number of its authors is known to compare with", "unavailable": f": {report.problem}"}
    out.print(f"{report.model}: {report.status}{told.get(report.status, where)}", highlight=False, soft_wrap=True)
    if not report.results:
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("example", "grade", "status", "off by", "allowed", "published in"):
        table.add_column(heading, no_wrap=heading != "published in")
    for result in report.results:
        table.add_row(
            result.id, result.grade, result.status, _figure(result.error), _figure(result.limit), result.source
        )
    out.print(table)
    for result in report.results:
        for what, text in (("cause", result.cause), ("note", result.note)):
            if text is not None:
                out.print(f"{result.id}: {what}: {text}", highlight=False, markup=False, soft_wrap=True)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


@app.command()
def doctor(models: ModelsFile = None, as_json: AsJson = False) -> None:
    """What this machine has, and how each model would run on it."""
    settings = _settings(models=models)
    catalog = open_catalog(settings)
    report = _diagnose(settings, catalog)
    if as_json:
        out.print_json(json.dumps(report, default=str))
        return
    machine = Table(title="machine", title_justify="left", show_header=False)
    for key, value in report["machine"].items():
        machine.add_row(key, str(value))
    out.print(machine)
    table = Table(title="models", title_justify="left")
    for heading in ("model", "state", "engine", "precision", "lanes × threads", "why"):
        table.add_column(heading, overflow="fold")
    for row in report["models"]:
        table.add_row(row["model"], row["state"], row["engine"], row["precision"], row["threads"], row["why"])
    out.print(table)


def _settings(**given: Any) -> Settings:
    """The environment's settings under a command's flags; logs go to stderr from here on."""
    settings = Settings(**{key: value for key, value in given.items() if value is not None})
    configure_logging(settings)
    return settings


def _greet(settings: Settings, catalog: Catalog, port: int) -> None:
    shown = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - a comparison
    model = catalog.registry.default_name("embedding")
    base = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    err.print(f"[bold]Sekisho {sekisho.__version__}[/]  ·  OpenAI base URL {base}/v1", soft_wrap=True)
    err.print(
        f"  curl {base}/v1/embeddings -H 'content-type: application/json' "
        f"""-d '{{"input": "こんにちは", "model": "{model}"}}'""",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


def _chosen(catalog: Catalog, names: list[str] | None, *, every: bool) -> list[Spec]:
    if every:
        return [spec for spec in catalog.registry if spec.upstream is None]
    if not names:
        raise _Failed(f"name a model, or --all. Models: {', '.join(spec.name for spec in catalog.registry)}")
    chosen = [catalog.registry.find(name) for name in names]
    for spec in chosen:
        if spec.upstream is not None:
            raise _Failed(f"{spec.name!r} runs at another service ({spec.upstream.base_url}): it has no files here")
    return chosen


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


def _state(catalog: Catalog, spec: Spec) -> str:
    if spec.upstream is not None:
        return "upstream"
    if spec.source.hub is not None and spec.name not in catalog.lock.models:
        return "unpinned"
    try:
        return "prepared" if catalog.preparer.find(spec) else "not prepared"
    except SekishoError as error:
        return error.code


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
            "state": _state(catalog, spec),
            "pinned": _pinned(catalog, spec),
            "revision": spec.source.revision,
            "default": catalog.registry.default_name(spec.kind) in catalog.registry.names(spec),
            "aliases": catalog.registry.names(spec)[1:],
        }
        for spec in catalog.registry
    ]
    if as_json:
        out.print_json(json.dumps(rows, ensure_ascii=False))
        return
    # Tight enough for 100 columns.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for heading in ("name", "kind", "size", "dims", "context", "languages", "licence", "state", "pinned"):
        numbers = heading in {"size", "dims", "context"}
        table.add_column(heading, justify="right" if numbers else "left", no_wrap=heading != "licence", overflow="fold")
    for row in rows:
        table.add_row(
            row["name"], row["kind"], _millions(row["parameters"]), _shown(row["dimensions"]),
            _shown(row["max_tokens"]), " ".join("+" if code == "mul" else code for code in row["languages"]),
            _shown(row["license"]), row["state"].replace("not ", "un"),
            "" if row["pinned"] is None else "yes" if row["pinned"] else "no",
        )  # fmt: skip
    out.print(table)


def _pinned(catalog: Catalog, spec: Spec) -> bool | None:
    """None for a model that has no files."""
    if spec.upstream is not None:
        return None
    return spec.source.hub is None or spec.name in catalog.lock.models


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
    """Texts that are empty or end in a space in quotes, so that it is seen."""
    if isinstance(value, list):
        return ", ".join(map(_written, value))
    if isinstance(value, dict):
        return " ".join(f"{key} {_written(inner)}" for key, inner in value.items() if inner is not None)
    quoted = isinstance(value, str) and (not value or value != value.strip() or "\n" in value)
    return json.dumps(value, ensure_ascii=False) if quoted else _shown(value)


#: What the checkpoint decides where models.yaml is silent, and what the contract calls it.
_READ_FROM_CHECKPOINT = {
    "family": "family", "pooling": "pooling", "normalize": "normalized", "dimensions": "width",
    "max_tokens": "max_tokens", "parameters": "parameters",
}  # fmt: skip


def _explain(catalog: Catalog, spec: Spec) -> list[tuple[str, Any, str]]:
    """(key, value, origin) of everything that decides what this model gives."""
    state = _state(catalog, spec)
    prepared = catalog.preparer.find(spec) if state == "prepared" else None
    contract = asdict(prepared.contract) if prepared is not None else {}
    origins = prepared.contract.origins if prepared is not None else {}
    rows: list[tuple[str, Any, str]] = []
    for key, value in spec.model_dump(mode="json", exclude={"source"} if spec.upstream else None).items():
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
        rows.append(("files", None, f"not pinned: `sekisho lock {spec.name}`"))
    rows.append(("state", state, "this machine"))
    rows += [
        (f"contract.{key}", contract[key], origins.get(key, "config.json"))
        for key in ("family", "width", "max_tokens", "pooling", "normalized", "parameters", "vocabulary")
        if contract
    ]
    return rows


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


def _diagnose(settings: Settings, catalog: Catalog) -> dict[str, Any]:
    machine = this_machine()
    free = shutil.disk_usage(next(p for p in (settings.home, *settings.home.parents) if p.exists())).free
    models = []
    for spec in catalog.registry:
        choice = choose(machine, settings.engine, spec.precision, settings.threads)
        models.append(
            {
                "model": spec.name,
                "state": _state(catalog, spec),
                "engine": choice.engine,
                "precision": choice.precision,
                "threads": f"{choice.lanes} × {choice.threads}",
                "why": choice.reason,
            }
        )
    return {
        "machine": {
            "processor": f"{machine.processor} ({machine.architecture})",
            "cores we may use": machine.cores,
            "the CPU computes in": ", ".join(sorted(machine.formats)) or "unknown without OpenVINO",
            "ONNX Runtime": machine.onnxruntime,
            "OpenVINO": machine.openvino or "not installed",
            "registry": str(catalog.path),
            "cache": f"{settings.home} ({free // 2**30:,} GiB free)",
            "network": "never used (offline)" if settings.offline else "used for models that are not here yet",
        },
        "models": models,
    }


def _lines(file: Path | None) -> list[str]:
    if file is None and sys.stdin.isatty():
        return []
    try:
        text = file.read_text("utf-8") if file is not None else sys.stdin.read()
    except UnicodeDecodeError as error:
        raise _Failed(f"the texts are not UTF-8: byte {error.start:,} is {error.object[error.start]:#04x}") from None
    # Only newlines end a line: splitlines would cut a text at a form feed or U+2028 too.
    return text.removesuffix("\n").split("\n") if text else []


def _report(results: list[dict[str, Any]], done: str, *, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps(results, ensure_ascii=False))
    else:
        for result in results:
            if result["ok"]:
                rest = ", ".join(f"{key}: {value}" for key, value in result.items() if key not in {"model", "ok"})
                out.print(f"{result['model']}: {done} ({rest})", highlight=False)
            else:
                err.print(
                    f"{result['model']}: {result['error']}", style="red", markup=False, highlight=False, soft_wrap=True
                )
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


class _Bars:
    """Progress of several steps, a bar each."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, step: str, done: int, size: int) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, total=size)
        self._progress.update(self._tasks[step], completed=done, total=size)


@contextmanager
def _progress(quiet: bool) -> Iterator[_Bars]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True) as progress:
        yield _Bars(progress)
