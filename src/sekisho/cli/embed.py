"""`sekisho embed`: texts to vectors without a server."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sekisho.assemble import assemble
from sekisho.cli.console import Failed
from sekisho.cli.options import ModelsFile, settings_from


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

    settings = settings_from(models=models, cache_mib=0)
    given = texts or _lines(file)
    if not given:
        raise Failed("no texts: give them as arguments, on stdin, or with --file")
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


def _lines(file: Path | None) -> list[str]:
    if file is None and sys.stdin.isatty():
        return []
    try:
        text = file.read_text("utf-8") if file is not None else sys.stdin.read()
    except UnicodeDecodeError as error:
        raise Failed(f"the texts are not UTF-8: byte {error.start:,} is {error.object[error.start]:#04x}") from None
    # Only newlines end a line: splitlines would cut a text at a form feed or U+2028 too.
    return text.removesuffix("\n").split("\n") if text else []
