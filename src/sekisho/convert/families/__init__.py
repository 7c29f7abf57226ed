"""One file an architecture family: which config keys it reads, what its weights are called, how its graph is built."""

from __future__ import annotations

from sekisho.convert.families import (
    bert,
    deberta,
    decoder,
    distilbert,
    gemma,
    gte,
    luke,
    modernbert,
    nvembed,
    static,
    xlm_roberta,
)
from sekisho.convert.family import Family
from sekisho.errors import ConversionFailed

FAMILIES: tuple[Family, ...] = tuple(
    module.FAMILY
    for module in (bert, deberta, decoder, distilbert, gemma, gte, luke, modernbert, nvembed, static, xlm_roberta)
)


def family_for(model_type: str | None) -> Family:
    """The family that reads checkpoints of this `model_type`. Raises ConversionFailed where there is none."""
    for family in FAMILIES:
        if model_type == family.name or model_type in family.model_types:
            return family
    known = ", ".join(sorted(name for family in FAMILIES for name in family.model_types))
    if model_type is None:
        raise ConversionFailed(f"config.json has no model_type: set `family` in models.yaml to one of {known}")
    raise ConversionFailed(f"model_type {model_type!r} is not supported; supported: {known}")
