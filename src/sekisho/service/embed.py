"""Texts in, vectors out: registry look-up, prompts, inference, shortening."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sekisho.catalog.registry import Registry, Spec
from sekisho.contract import Contract, Inference, Passage, Rows, Timings, Truncation
from sekisho.engine.pool import Pool
from sekisho.errors import InvalidRequest
from sekisho.observability import STAGE_SECONDS, TRUNCATED
from sekisho.service.prompts import prompt_for, with_prompt
from sekisho.service.token_ids import cl100k_table, decode_cl100k

#: A text, or token ids.
Input = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What every dialect's embedding request comes down to. None means: as the registry says.

    single: the client sent one text, not a list. kind: `input_type` in any dialect's words.
    """

    inputs: Sequence[Input]
    model: str | None = None
    single: bool = False
    kind: str | None = None
    apply_ruri_prefix: bool = False
    instruction: str | None = None
    dimensions: int | None = None
    truncation: Truncation | None = None
    normalize: bool | None = None


@dataclass(frozen=True, slots=True)
class Embedded:
    """rows: float32 [inputs, dimensions]; tokens: what the model saw; truncated: how many inputs were cut."""

    spec: Spec
    rows: Rows
    tokens: int
    truncated: int
    timings: Timings


class EmbedService:
    """The one way to vectors, whatever the dialect."""

    def __init__(self, registry: Registry, pool: Pool) -> None:
        self._registry = registry
        self._pool = pool

    async def embed(self, request: EmbedRequest) -> Embedded:
        """Raises ModelNotFound, InvalidRequest and whatever loading and running the model raise."""
        spec = self._spec(request.model)
        if not request.inputs:
            raise InvalidRequest("`input` is an empty list: send at least one text", param="input")
        await _have_table(spec, request.inputs)
        passages = self._passages(spec, request)
        _check_dimensions(spec, spec.dimensions, request.dimensions)
        async with self._pool.use(spec) as engine:
            _check_dimensions(spec, engine.contract.width, request.dimensions)
            result = await engine.infer(passages, request.truncation or ("end" if spec.truncate else "none"))
            rows = _finish(result, engine.contract, spec, request)
        observe(spec, result)
        return Embedded(spec, rows, result.tokens, result.truncated, result.timings)

    def _spec(self, name: str | None) -> Spec:
        spec = self._registry.find(name) if name else self._registry.default("embedding")
        if spec.kind != "embedding":
            raise InvalidRequest(f"{spec.name!r} is a {spec.kind}, not an embedding model", param="model")
        return spec

    def _passages(self, spec: Spec, request: EmbedRequest) -> list[Passage]:
        prompt = prompt_for(
            spec,
            request.kind,
            instruction=request.instruction,
            single=request.single,
            apply_prefix=request.apply_ruri_prefix,
        )
        return [_passage(spec, prompt, index, given) for index, given in enumerate(request.inputs)]


async def _have_table(spec: Spec, inputs: Sequence[Input]) -> None:
    """Reading the token table takes 60 ms, once: not on the event loop, where everybody would wait for it."""
    needed = spec.token_ids == "cl100k" and not all(isinstance(given, str) for given in inputs)
    if needed and not cl100k_table.cache_info().currsize:
        await asyncio.to_thread(cl100k_table)


def _passage(spec: Spec, prompt: str, index: int, given: Input) -> Passage:
    if isinstance(given, str):
        return Passage(*with_prompt(prompt, given))
    if spec.token_ids == "reject":
        raise InvalidRequest(
            f"input[{index}] is a list of token ids, which {spec.name!r} does not take: send the text itself "
            "(in LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))",
            param="input",
        )
    if spec.token_ids == "native":
        return Passage("", ids=given)
    return Passage(*with_prompt(prompt, decode_cl100k(given, index)))


def _check_dimensions(spec: Spec, width: int | None, dimensions: int | None) -> None:
    """`width`: of the model's vectors; None where it is not known before loading, and nothing is checked."""
    if dimensions is None or width is None or dimensions == width:
        return
    if not spec.allow_truncate_dimensions and dimensions not in spec.matryoshka:
        offered = ", ".join(map(str, sorted({*spec.matryoshka, width})))
        raise InvalidRequest(
            f"The model {spec.name!r} gives vectors of {offered} dimensions, not {dimensions}: "
            "its vectors were not trained to be cut there. Leave `dimensions` out, or allow it in the registry "
            "(allow_truncate_dimensions: true)",
            param="dimensions",
        )
    if not 1 <= dimensions <= width:
        raise InvalidRequest(
            f"`dimensions` is {dimensions}; this model's vectors have 1 to {width}", param="dimensions"
        )


def _finish(result: Inference, contract: Contract, spec: Spec, request: EmbedRequest) -> Rows:
    """Undo or do what the graph did or did not: cut to the dimensions asked for, normalise or give the plain vector."""
    rows = result.rows
    normalize = request.normalize
    if normalize is None:
        normalize = contract.normalized if spec.normalize is None else spec.normalize
    if not normalize and result.norms is not None:
        rows = rows * result.norms[:, None]
    cut = request.dimensions is not None and request.dimensions < contract.width
    if cut:
        rows = rows[:, : request.dimensions]
    if normalize and (cut or not contract.normalized):
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    return np.ascontiguousarray(rows, np.float32)


def observe(spec: Spec, result: Inference) -> None:
    """Count what a request cost."""
    if result.truncated:
        TRUNCATED.labels(spec.name).inc(result.truncated)
    for stage, seconds in (
        ("queue", result.timings.queue),
        ("tokenize", result.timings.tokenize),
        ("inference", result.timings.inference),
    ):
        STAGE_SECONDS.labels(spec.name, stage).observe(seconds)
