"""The command line. Exit status: 0 done, 1 failed, 2 wrong use. Errors are one line on stderr that says what to do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from pydantic import ValidationError

import sekisho
from sekisho.cli import bench, cache, convert, doctor, embed, files, models, selfcheck, serve
from sekisho.cli.console import Failed, err, out
from sekisho.errors import RegistryInvalid, SekishoError

app = typer.Typer(
    name="sekisho",
    help="Embeddings for every OpenAI-compatible client, from pinned models, without PyTorch.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (
    serve.serve, files.pull, files.verify, files.lock, convert.convert, embed.embed, selfcheck.selfcheck, doctor.doctor,
    bench.bench,
):  # fmt: skip
    app.command()(_command)
app.add_typer(models.app, name="models")
app.add_typer(cache.app, name="cache")


def main() -> None:
    """The console entry point."""
    try:
        app()
    except (SekishoError, RegistryInvalid, Failed) as error:
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
