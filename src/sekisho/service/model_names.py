"""A model's name with the kind of its texts behind a colon: for clients that can name a model and nothing else."""

from __future__ import annotations

from sekisho.catalog.registry import Registry, Spec
from sekisho.errors import InvalidRequest, ModelNotFound
from sekisho.service.prompts import kind_for, kinds_of


def find_model(registry: Registry, name: str) -> tuple[Spec, str | None]:
    """(the model, the kind that its name ends in): `ruri-v3-310m:query`, of short names, aliases and hub ids alike.

    No name in the registry holds a colon. Raises ModelNotFound for an unknown name, and for a suffix that is no kind
    the model has.
    """
    bare, colon, suffix = name.partition(":")
    if not colon:
        return registry.find(name), None
    spec = registry.find(bare)
    try:
        if spec.kind == "embedding":
            return spec, kind_for(spec, suffix)
    except InvalidRequest:
        pass
    raise ModelNotFound(f"The model {name!r} does not exist: {_offered(spec, bare, suffix)}", param="model")


def _offered(spec: Spec, bare: str, suffix: str) -> str:
    names = kinds_of(spec) if spec.kind == "embedding" else []
    if not names:
        return f"{bare!r} does, and it has no prompts: leave `:{suffix}` out"
    return f"the prompts of {bare!r} are {', '.join(names)}; name one of them, or none"
