"""The command line. Exit status: 0 done, 1 failed, 2 wrong use. Errors are one line on stderr that says what to do."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

import sekisho
from sekisho.assemble import Catalog, assemble, open_catalog
from sekisho.catalog.lockfile import Lock, LockedModel, dump_lock, lock_path
from sekisho.catalog.registry import Spec
from sekisho.errors import RegistryInvalid, SekishoError
from sekisho.observability import configure_logging
from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import choose
from sekisho.settings import Settings

app = typer.Typer(
    name="sekisho",
    help="Embeddings for every OpenAI-compatible client, from pinned models, without PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The registry.", invoke_without_command=True)
app.add_typer(models_app, name="models")

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
        table.add_row(key, "" if value is None else str(value), origin)
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
    results: list[dict[str, Any]] = []
    for spec in _chosen(catalog, names, every=not names):
        try:
            files = catalog.artifacts.verified(spec, catalog.lock.models.get(spec.name))
            prepared = "whole" if catalog.preparer.find(spec) else "not prepared, or damaged and made anew on next use"
            results.append({"model": spec.name, "ok": True, "files": len(files), "prepared": prepared})
        except SekishoError as error:
            results.append({"model": spec.name, "ok": False, "error": error.message})
    _report(results, "verified", as_json=as_json)


@app.command()
def lock(names: Names = None, models: ModelsFile = None) -> None:
    """Pin models: write size and sha256 of every file they need into models.lock."""
    catalog = open_catalog(_settings(models=models))
    locked = dict(catalog.lock.models)
    for spec in _chosen(catalog, names, every=not names):
        if not spec.pinned:
            raise _Failed(f"{spec.name!r} names no revision: give its `source` a full commit in {catalog.path}")
        locked[spec.name] = LockedModel(revision=spec.source.revision, files=catalog.artifacts.measure(spec))
        out.print(f"locked {spec.name}: {len(locked[spec.name].files)} files", highlight=False)
    known = {spec.name for spec in catalog.registry}
    kept = {name: model for name, model in locked.items() if name in known}
    lock_path(catalog.path).write_text(dump_lock(Lock(models=kept)), "utf-8")


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
        return list(catalog.registry)
    if not names:
        raise _Failed(f"name a model, or --all. Models: {', '.join(spec.name for spec in catalog.registry)}")
    return [catalog.registry.find(name) for name in names]


def _state(catalog: Catalog, spec: Spec) -> str:
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
            "dimensions": spec.dimensions,
            "max_tokens": spec.max_tokens,
            "languages": list(spec.languages),
            "license": spec.license,
            "state": _state(catalog, spec),
            "pinned": spec.source.hub is None or spec.name in catalog.lock.models,
            "aliases": catalog.registry.names(spec)[1:],
        }
        for spec in catalog.registry
    ]
    if as_json:
        out.print_json(json.dumps(rows, ensure_ascii=False))
        return
    table = Table()
    for heading in ("name", "kind", "dims", "tokens", "languages", "licence", "state", "pinned"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(
            row["name"], row["kind"], _shown(row["dimensions"]), _shown(row["max_tokens"]), ", ".join(row["languages"]),
            _shown(row["license"]), row["state"], "yes" if row["pinned"] else "no",
        )  # fmt: skip
    out.print(table)


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _explain(catalog: Catalog, spec: Spec) -> list[tuple[str, Any, str]]:
    """(key, value, origin) of everything that decides what this model gives."""
    written = spec.model_fields_set
    rows = [
        (key, value, "models.yaml" if key in written else "default")
        for key, value in spec.model_dump(mode="json").items()
        if value not in (None, [], {}, ())
    ]
    locked = catalog.lock.models.get(spec.name)
    if locked is not None:
        size = sum(pin.size for pin in locked.files.values())
        rows.append(("files", f"{len(locked.files)} files, {size:,} bytes", "models.lock"))
    rows.append(("state", _state(catalog, spec), "this machine"))
    prepared = catalog.preparer.find(spec) if rows[-1][1] == "prepared" else None
    if prepared is not None:
        contract = asdict(prepared.contract)
        rows += [
            (f"contract.{key}", contract[key], prepared.contract.origins.get(key, "config.json"))
            for key in ("family", "width", "max_tokens", "pooling", "normalized", "parameters", "vocabulary")
        ]
    return rows


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
