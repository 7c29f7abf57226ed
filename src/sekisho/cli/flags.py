"""A flag for every setting: made from the settings, so that none is missing."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from sekisho.settings import Settings

#: What the command line reads by itself; everything else is text, which the settings check.
_READ = (bool, int, float, Path)


def with_a_flag_for_each_setting(command: Callable[..., None]) -> Callable[..., None]:
    """`command` takes the settings given on the command line as keywords; those that are not given are None."""

    def called(**given: Any) -> None:
        command(**given)

    called.__doc__ = command.__doc__
    called.__name__ = command.__name__
    parameters = [_parameter(name, field) for name, field in Settings.model_fields.items()]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    flag = f"--{name.replace('_', '-')}"
    kind = _kind(field.annotation)
    names = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    option = typer.Option(names, help=f"{field.description} ({', '.join(_variables(name, field))})")
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]  # made as it runs
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(annotation: Any) -> type:
    """bool, int, float, Path, and str for whatever else."""
    if get_origin(annotation) in {Union, types.UnionType}:
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    return annotation if annotation in _READ else str


def _variables(name: str, field: FieldInfo) -> list[str]:
    """The names of a setting in the environment, the first in rank first."""
    others = field.validation_alias
    return [str(each) for each in others.choices] if isinstance(others, AliasChoices) else [f"SEKISHO_{name.upper()}"]
