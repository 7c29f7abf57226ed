"""How near sentences are to one: cosines of their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sekisho.catalog.registry import Spec
from sekisho.contract import Rows, Timings, Truncation
from sekisho.service.embed import EmbedRequest, EmbedService


@dataclass(frozen=True, slots=True)
class Similar:
    """cosines: float32 [sentences], in the order given; tokens: of all texts; truncated: how many were cut."""

    spec: Spec
    cosines: Rows
    tokens: int
    truncated: int
    timings: Timings


async def similarity(
    service: EmbedService,
    source: str,
    sentences: Sequence[str],
    *,
    model: str | None = None,
    kind: str | None = None,
    truncation: Truncation | None = None,
) -> Similar:
    """All texts get the same prompt, that of `kind` (`input_type` in any dialect's words), as in TEI's `/similarity`.

    Raises what EmbedService.embed raises; the source is its input 0.
    """
    asked = EmbedRequest([source, *sentences], model=model, kind=kind, truncation=truncation, normalize=True)
    result = await service.embed(asked)
    cosines: Rows = result.rows[1:] @ result.rows[0]
    return Similar(result.spec, cosines, result.tokens, result.truncated, result.timings)
