"""`sekisho serve`."""

from __future__ import annotations

import socket
from typing import Any

import sekisho
from sekisho.assemble import Catalog, assemble, open_catalog
from sekisho.cli.console import Failed, err
from sekisho.cli.flags import with_a_flag_for_each_setting
from sekisho.cli.options import settings_from
from sekisho.settings import Settings


@with_a_flag_for_each_setting
def serve(**given: Any) -> None:
    """Run the server."""
    from sekisho.http.server import CannotServe, check_exposure

    settings = settings_from(**given)
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
