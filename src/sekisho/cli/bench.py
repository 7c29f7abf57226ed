"""`sekisho bench`: what serving costs on this machine."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sekisho.assemble import open_catalog
from sekisho.catalog.registry import Spec
from sekisho.cli.console import Failed, err, print_table
from sekisho.cli.options import ModelsFile, settings_from
from sekisho.settings import Settings

if TYPE_CHECKING:
    from sekisho.bench.run import Wanted


def bench(
    model: Annotated[str | None, typer.Option(help="An embedding model's name or alias; left out: the default")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of each figure; their median counts")] = None,
    only: Annotated[str | None, typer.Option(help="Bars with commas between, such as P1,P2")] = None,
    url: Annotated[
        list[str] | None, typer.Option(help="OpenAI base URL of a server to compare with; may be repeated")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Everything once on few texts: does it run?")] = False,
    json: Annotated[Path | None, typer.Option(dir_okay=False, help="Write the report to this file too")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Draw plots into this directory")] = None,
    models: ModelsFile = None,
) -> None:
    """Measure a server beside what its engine could do at best.

    Only ratios of one run mean something. The table says where other programs disturbed it.
    """
    _need("psutil", *(["matplotlib"] if plots else []))
    from sekisho.bench.plan import LoadFailed
    from sekisho.bench.report import table
    from sekisho.bench.run import measure
    from sekisho.bench.server import ServerFailed

    settings = settings_from(models=models, log_level="warning")
    spec = _spec(settings, model)
    with err.status("") as status:
        try:
            wanted = _wanted(only, url or [], rounds, quick=quick)
            report = measure(settings, spec, wanted, status.update)
        except (LoadFailed, ServerFailed) as error:
            raise Failed(str(error)) from None
    if quick:
        report.about["quick"] = "whether it runs; the figures mean nothing"
    if json is not None:
        report.write(json)
    if plots is not None:
        from sekisho.bench.plots import draw

        draw(report, plots)
    print_table(table([report]))


def _need(*modules: str) -> None:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise Failed(f"{' and '.join(missing)} not installed: pip install 'sekisho[bench]'")


def _spec(settings: Settings, model: str | None) -> Spec:
    registry = open_catalog(settings).registry
    spec = registry.find(model) if model is not None else registry.default("embedding")
    if spec.kind != "embedding" or spec.upstream is not None:
        raise Failed(f"{spec.name!r} is no embedding model that runs here: name one of `sekisho models list`")
    return spec


def _wanted(only: str | None, urls: list[str], rounds: int | None, *, quick: bool) -> Wanted:
    from sekisho.bench import against
    from sekisho.bench.run import OWN, Wanted, other_server
    from sekisho.bench.stand import QUICK, Sizes

    bars = OWN if only is None else tuple(name.strip().upper() for name in only.split(","))
    if unknown := sorted(set(bars) - set(OWN)):
        raise Failed(f"--only: no {', '.join(unknown)} here; there are {', '.join(OWN)}")
    sizes = QUICK if quick else Sizes()
    if rounds is not None:
        sizes = sizes.of_rounds(rounds)
    return Wanted(bars, sizes, [partial(other_server, against.endpoint(each), None) for each in urls])
