"""`sekisho serve`."""

from __future__ import annotations

from typing import Annotated

import typer

import sekisho
from sekisho.assemble import Catalog, assemble
from sekisho.cli.console import Failed, err
from sekisho.cli.options import ModelsFile, settings_from
from sekisho.settings import Settings


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

    settings = settings_from(
        host=host, port=port, models=models, engine=engine, threads=threads, offline=offline, log_format=log_format,
        log_level=log_level,
    )  # fmt: skip
    try:
        check_exposure(settings.host, has_keys=bool(settings.api_keys), anonymous=settings.anonymous)
        parts = assemble(settings)
        listening = listen(settings.host, settings.port)
    except CannotServe as error:
        raise Failed(str(error)) from None
    _greet(settings, parts.catalog, listening.getsockname()[1])
    run(parts, listening)


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
