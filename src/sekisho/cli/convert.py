"""`sekisho convert`: a checkpoint directory to a prepared model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sekisho.assemble import gate_run
from sekisho.cli.console import Bars, Failed, out, progress
from sekisho.cli.options import AsJson, settings_from
from sekisho.contract import Quality


def convert(  # noqa: PLR0913, PLR0917 - a flag each
    source: Annotated[
        Path, typer.Argument(help="Checkpoint directory: config.json, model.safetensors, tokenizer.json")
    ],
    target: Annotated[Path, typer.Argument(help="Directory to make")],
    pooling: Annotated[str | None, typer.Option(help="mean, cls, max, last, weighted_mean")] = None,
    normalize: Annotated[bool | None, typer.Option(help="L2-normalise inside the graph")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=2, help="Longest input")] = None,
    family: Annotated[str | None, typer.Option(help="Where config.json has no model_type")] = None,
    precision: Annotated[
        str | None, typer.Option(help="int8: make the weights int8, measured against fp32 and refused where too far")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Take an int8 graph that is too far from fp32 too")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn a checkpoint directory into a prepared model, with no hub and no registry."""
    try:
        from sekisho.convert.build import convert_directory
        from sekisho.convert.decisions import Choices
    except ImportError as error:
        raise Failed(
            f"the converter is not installed: pip install 'sekisho[convert]' (missing: {error.name})"
        ) from None
    if precision not in {None, "int8"}:
        raise typer.BadParameter(
            "int8; among the others the server chooses when it loads the model", param_hint="--precision"
        )
    choices = Choices(family=family, pooling=pooling, normalize=normalize, max_tokens=max_tokens)  # type: ignore[arg-type]  # checked there
    with progress(as_json) as bars:
        contract = convert_directory(
            source,
            target,
            choices,
            lambda done, size: bars.show("convert", done, size),
            (lambda directory: _made_int8(directory, source.name, bars, force=force)) if precision else None,
        )
    if as_json:
        out.print_json(json.dumps(asdict(contract)))
        return
    _print(f"{contract.family}, {contract.parameters:,} parameters, {contract.width} dimensions → {target}")
    if contract.quality is not None:
        _print(_told(contract.quality))


def _made_int8(directory: Path, name: str, bars: Bars, *, force: bool) -> Quality:
    from sekisho.convert.proving import make_int8

    run = gate_run(settings_from())
    return make_int8(directory, name, run, origin="the command line", force=force, progress=bars.show)


def _told(quality: Quality) -> str:
    figures = (
        f"int8 against fp32 over {quality.texts} texts: mean cosine {quality.cosine_mean:.4f}, lowest "
        f"{quality.cosine_min:.4f}, ten nearest that stay {quality.overlap:.3f}, a text alone and among others "
        f"{quality.alone:.4f}"
    )
    return f"{figures}; below the gate, and forced" if quality.forced else figures


def _print(line: str) -> None:
    out.print(line, highlight=False, markup=False, soft_wrap=True)
