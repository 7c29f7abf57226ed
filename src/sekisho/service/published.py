"""The examples that models' authors and known libraries printed: data, `data/selfcheck/`, a file a model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sekisho.catalog.registry import Registry, Spec

Compute = Literal["cosine", "values", "sum", "token_ids", "scores", "sparse", "colbert", "jsts"]

#: In which a model runs here, as far as a tolerance is concerned.
Arithmetic = Literal["fp32", "half", "int8"]

Numbers = NDArray[np.float64]

#: A difference of cosines or of scores between 0 and 1 up to which a number is called near, not wrong.
_NEAR = 0.01


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Prompted(_Strict):
    """A text that the authors gave with one of the model's prompts."""

    text: str
    kind: str


#: A number, or an absolute part and one relative to the printed number.
Tolerance = float | tuple[float, float]


class Example(_Strict):
    """One printed result.

    grade: A the authors' own; B a maintained library's reference; C somebody's port.
    texts, against: rows and columns of a matrix of cosines; without `against` the texts themselves.
    prompts: the prompts the numbers were made with. Several: the source leaves open which.
    words: sparse weights are printed by what each token reads, not by its id.
    indices: components of each vector. scale: what the printed numbers are multiplied by.
    expected: null where nothing was printed. expected_half: what was printed for fp16 or bf16.
    """

    id: str
    grade: Literal["A", "A-", "B", "C"]
    source: str
    compute: Compute
    note: str | None = None
    texts: tuple[str | Prompted, ...] = ()
    against: tuple[str | Prompted, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    kind: str | None = None
    prompts: tuple[Mapping[str, str], ...] = ()
    words: bool = False
    indices: tuple[int, ...] = ()
    normalize: bool | None = None
    unit: Literal["logit", "sigmoid"] | None = None
    scale: float = 1
    expected: Any
    expected_half: Any = None
    tolerance: Mapping[Arithmetic, Tolerance] = {}

    @model_validator(mode="after")
    def _whole(self) -> Example:
        wrong = {
            "a tolerance for each arithmetic": self.compute != "token_ids" and len(self.tolerance) != 3,
            "texts": self.compute not in {"scores", "jsts"} and not self.texts,
            "a unit and pairs": self.compute == "scores" and (self.unit is None or not self.pairs),
            "indices and normalize": self.compute == "values" and (not self.indices or self.normalize is None),
        }
        missing = [what for what, is_missing in wrong.items() if is_missing]
        if missing:
            raise ValueError(f"{self.id} needs {', '.join(missing)}")
        return self

    def limit(self, arithmetic: Arithmetic, expected: Numbers) -> Numbers:
        """How far each number may be off."""
        given = self.tolerance[arithmetic]
        absolute, relative = given if isinstance(given, tuple) else (given, 0.0)
        return absolute + relative * np.abs(expected)

    def near(self, limit: Numbers) -> Numbers:
        """How far each number may be off to be called near."""
        bounded = self.compute == "cosine" or self.unit == "sigmoid"
        return np.maximum(2 * limit, _NEAR * self.scale) if bounded else 3 * limit


class Examples(_Strict):
    """A file of data/selfcheck."""

    hub: str
    examples: Annotated[tuple[Example, ...], Field(min_length=1)]


@cache
def _catalogue() -> Mapping[str, Examples]:
    """Short name of the shipped registry → its examples."""
    there = files("sekisho").joinpath("data/selfcheck").iterdir()
    return {
        file.name.removesuffix(".json"): Examples.model_validate_json(file.read_text("utf-8"))
        for file in sorted(there, key=lambda file: file.name)
        if file.name.endswith(".json")
    }


def published() -> Mapping[str, Examples]:
    """Every file of examples, by short name."""
    return _catalogue()


def examples_for(registry: Registry, spec: Spec) -> tuple[Example, ...]:
    """What was published of this model, found by its hub id, else by its short name."""
    names = {name.casefold() for name in registry.names(spec)}
    for found in _catalogue().values():
        if found.hub.casefold() in names:
            return found.examples
    named = _catalogue().get(spec.name)
    return named.examples if named is not None else ()
