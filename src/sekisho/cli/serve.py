"""`sekisho serve`."""

from __future__ import annotations

import socket
from typing import Annotated

import typer

import sekisho
from sekisho.assemble import Catalog, assemble, open_catalog
from sekisho.cli.console import Failed, err
from sekisho.cli.options import ModelsFile, settings_from
from sekisho.settings import Settings


def serve(  # noqa: PLR0913, PLR0917 - a flag each
    host: Annotated[str | None, typer.Option(help="Address to listen on (HOST)")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (PORT, APP_PORT)")] = None,
    models: ModelsFile = None,
    engine: Annotated[str | None, typer.Option(help="auto, onnxruntime or openvino (SEKISHO_ENGINE)")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads for inference (SEKISHO_THREADS)")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes, each on its own cores (WORKERS)")] = None,
    offline: Annotated[bool | None, typer.Option("--offline", help="No network call at all (SEKISHO_OFFLINE)")] = None,
    cache_mib: Annotated[float | None, typer.Option(help="MiB for kept results, 0: none (SEKISHO_CACHE_MIB)")] = None,
    cache_seconds: Annotated[int | None, typer.Option(help="How old they may be (SEKISHO_CACHE_SECONDS)")] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Redis to share them in; with a password: SEKISHO_REDIS_URL, unseen in `ps`")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json (SEKISHO_LOG_FORMAT)")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error (SEKISHO_LOG_LEVEL)")] = None,
) -> None:
    """Run the server."""
    from sekisho.http.server import CannotServe, check_exposure

    settings = settings_from(
        host=host, port=port, models=models, engine=engine, threads=threads, workers=workers, offline=offline,
        cache_mib=cache_mib, cache_seconds=cache_seconds, redis_url=redis_url, log_format=log_format,
        log_level=log_level,
    )  # fmt: skip
    try:
        check_exposure(settings.host, has_keys=bool(settings.api_keys), anonymous=settings.anonymous)
        (_serve_alone if settings.workers == 1 else _serve_together)(settings)
    except CannotServe as error:
        raise Failed(str(error)) from None


def _serve_alone(settings: Settings) -> None:
    from sekisho.http.server import listen
    from sekisho.http.server import serve as run

    parts = assemble(settings)
    listening = listen(settings.host, settings.port)
    _greet(settings, parts.catalog, listening)
    run(parts, listening)


def _serve_together(settings: Settings) -> None:
    from sekisho.http.server import listen_each
    from sekisho.http.shares import shares_here
    from sekisho.http.workers import supervise

    shares = shares_here(settings.workers)
    catalog = open_catalog(settings)
    listening = listen_each(settings.host, settings.port, settings.workers)
    _greet(settings, catalog, listening[0])
    supervise(settings, shares, listening)


def _greet(settings: Settings, catalog: Catalog, listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    shown = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104 - a comparison
    model = catalog.registry.default_name("embedding")
    base = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    err.print(f"[bold]Sekisho {sekisho.__version__}[/]  ·  OpenAI base URL {base}/v1", soft_wrap=True)
    err.print(
        f"  curl {base}/v1/embeddings -H 'content-type: application/json' "
        f"""-d '{{"input": "こんにちは", "model": "{model}"}}'""",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip
