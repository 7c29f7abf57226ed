"""Texts in, vectors out: registry look-up, prompts, inference, shortening."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sekisho.catalog.registry import Registry, Spec
from sekisho.contract import Contract, Inference, Passage, Rows, Timings, Truncation
from sekisho.engine.pool import Pool
from sekisho.errors import InvalidRequest
from sekisho.observability import TRUNCATED, stage_seconds
from sekisho.service.model_names import find_model
from sekisho.service.prompts import kind_for, prompt_for, with_prompt
from sekisho.service.token_ids import cl100k_table, decode_cl100k, refuse_other_tables

#: A text, or token ids.
Input = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """What every dialect's embedding request comes down to. None means: as the registry says.

    single: the client sent one text, not a list.
    text_tokens: at most this many tokens of each text are read.
    field: the request's own name for its inputs, for errors.
    kind: `input_type` in any dialect's words; it goes before the kind that the model's name may end in.
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
    text_tokens: int | None = None
    field: str = "input"


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
        spec, kind = self._spec(request.model)
        if request.kind is None and kind is not None:
            request = replace(request, kind=kind)
        if not request.inputs:
            raise InvalidRequest(f"`{request.field}` is an empty list: send at least one text", param=request.field)
        await _have_table(spec, request.inputs)
        passages = self._passages(spec, request)
        _check_dimensions(spec, spec.dimensions, request.dimensions)
        async with self._pool.use(spec) as engine:
            _check_dimensions(spec, engine.contract.width or None, request.dimensions)
            result = await engine.infer(passages, request.truncation or ("end" if spec.truncate else "none"))
            rows = _finish(result, engine.contract, spec, request)
        observe(spec, result)
        return Embedded(spec, rows, result.tokens, result.truncated, result.timings)

    def _spec(self, name: str | None) -> tuple[Spec, str | None]:
        """The model, and the kind that its name ends in."""
        spec, kind = find_model(self._registry, name) if name else (self._registry.default("embedding"), None)
        if spec.kind != "embedding":
            raise InvalidRequest(f"{spec.name!r} is a {spec.kind}, not an embedding model", param="model")
        return spec, kind

    def _passages(self, spec: Spec, request: EmbedRequest) -> list[Passage]:
        single, apply_prefix = request.single, request.apply_ruri_prefix
        prompt = prompt_for(
            spec, request.kind, instruction=request.instruction, single=single, apply_prefix=apply_prefix
        )
        _check_ids(spec, request)
        passages = [_passage(spec, prompt, index, given, request.field) for index, given in enumerate(request.inputs)]
        if request.text_tokens is not None:
            _check_here(spec)
            passages = [replace(passage, document_tokens=request.text_tokens) for passage in passages]
        if spec.upstream is None:
            return passages
        kind = kind_for(spec, request.kind, single=single, apply_prefix=apply_prefix)
        return [replace(passage, kind=kind, dimensions=request.dimensions) for passage in passages]


def _check_here(spec: Spec) -> None:
    if spec.upstream is not None:
        raise InvalidRequest(
            f"The model {spec.name!r} runs elsewhere, where nobody counts tokens of a text: leave `max_tokens` out",
            param="max_tokens",
        )


async def _have_table(spec: Spec, inputs: Sequence[Input]) -> None:
    """Reading the token table takes 60 ms, once: not on the event loop, where everybody would wait for it."""
    needed = spec.token_ids == "cl100k" and not all(isinstance(given, str) for given in inputs)
    if needed and not cl100k_table.cache_info().currsize:
        await asyncio.to_thread(cl100k_table)


def _check_ids(spec: Spec, request: EmbedRequest) -> None:
    if request.model and spec.token_ids == "cl100k" and not all(isinstance(given, str) for given in request.inputs):
        refuse_other_tables(request.model)


def _passage(spec: Spec, prompt: str, index: int, given: Input, field: str) -> Passage:
    if isinstance(given, str):
        return Passage(*with_prompt(prompt, given), field=field)
    if spec.token_ids == "reject":
        raise InvalidRequest(
            f"{field}[{index}] is a list of token ids, which {spec.name!r} does not take: send the text itself "
            "(in LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))",
            param=field,
        )
    if spec.token_ids == "native":
        return Passage("", ids=given, field=field)
    return Passage(*with_prompt(prompt, decode_cl100k(given, index)), field=field)


def _check_dimensions(spec: Spec, width: int | None, dimensions: int | None) -> None:
    """`width`: of the model's vectors; None where it is not known before loading, and nothing is checked."""
    if dimensions is None or width is None or dimensions == width:
        return
    if spec.upstream is not None and not spec.matryoshka and not spec.allow_truncate_dimensions:
        return  # nobody said which widths there are: the service elsewhere does
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
    cut = request.dimensions is not None and request.dimensions < rows.shape[1]
    if cut:
        rows = rows[:, : request.dimensions]
    if normalize and (cut or not contract.normalized):
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    return np.ascontiguousarray(rows, np.float32)


def observe(spec: Spec, result: Inference) -> None:
    """Count what a request cost."""
    if result.truncated:
        TRUNCATED.labels(spec.name).inc(result.truncated)
    queue, tokenize, inference = stage_seconds(spec.name)
    queue.observe(result.timings.queue)
    tokenize.observe(result.timings.tokenize)
    inference.observe(result.timings.inference)
