"""`sekisho selfcheck`: the numbers that models' authors printed, against what is served here."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from sekisho.assemble import Parts, assemble, placement
from sekisho.cli.console import out, print_table
from sekisho.cli.options import All, AsJson, ModelsFile, Names, chosen, settings_from
from sekisho.errors import SekishoError
from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import choose

if TYPE_CHECKING:
    from sekisho.catalog.registry import Registry, Spec
    from sekisho.contract import Contract
    from sekisho.runtime.select import Choice
    from sekisho.service.published import Arithmetic
    from sekisho.service.selfcheck import Report, SelfCheck

_PRECISIONS = ("fp32", "bf16", "fp16", "int8")


def selfcheck(
    names: Names = None,
    every: All = False,
    precision: Annotated[str | None, typer.Option(help="fp32, bf16, fp16 or int8, in place of the registry's")] = None,
    jsts: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JGLUE's JSTS validation file, for its correlation")
    ] = None,
    models: ModelsFile = None,
    as_json: AsJson = False,
) -> None:
    """Run the examples that the models' authors printed, and compare with their numbers."""
    from sekisho.service.selfcheck import SelfCheck

    if precision is not None and precision not in _PRECISIONS:
        raise typer.BadParameter(", ".join(_PRECISIONS), param_hint="--precision")
    settings = settings_from(models=models, cache_mib=0)

    async def run() -> list[tuple[str, Report]]:
        parts = assemble(settings)
        changes = {"keep_alive": timedelta(0)} | ({"precision": precision} if precision else {})
        registry = parts.catalog.registry.altered(**changes)
        check = SelfCheck(registry, parts.pool, jsts=jsts)
        meant = [registry.find(spec.name) for spec in chosen(parts.catalog, names, every=every)]
        try:
            return [await _checked(parts, registry, spec, check) for spec in meant]
        finally:
            await parts.pool.close()

    reports = asyncio.run(run())
    if as_json:
        out.print_json(json.dumps([asdict(report) | {"engine": engine} for engine, report in reports]))
    else:
        for engine, report in reports:
            _print_report(engine, report)
    if any(report.status in {"mismatch", "unavailable"} for _, report in reports):
        raise typer.Exit(1)


async def _checked(parts: Parts, registry: Registry, spec: Spec, check: SelfCheck) -> tuple[str, Report]:
    """What a model was run in, and the report. Only a prepared model tells what it computes with."""
    from sekisho.service.published import examples_for

    async with AsyncExitStack() as loaded:
        contract: Contract | None = None
        if examples_for(registry, spec):
            with suppress(SekishoError):  # which the report tells
                contract = (await loaded.enter_async_context(parts.pool.use(spec))).contract
        settings = parts.settings
        where = placement(settings.device)
        choice = choose(this_machine(), settings.engine, spec.precision, settings.threads, contract, where)
        report = await check.check(spec, _arithmetic(choice, contract))
    return f"{choice.precision}, {choice.engine}", report


def _arithmetic(choice: Choice, contract: Contract | None) -> Arithmetic:
    """Rounded weights are int8 whatever multiplies them."""
    if choice.precision == "int8" or (contract is not None and "int8" in contract.numbers):
        return "int8"
    return "fp32" if choice.precision == "fp32" else "half"


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
    print_table(table)
    for result in report.results:
        for what, text in (("cause", result.cause), ("note", result.note)):
            if text is not None:
                out.print(f"{result.id}: {what}: {text}", highlight=False, markup=False, soft_wrap=True)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
