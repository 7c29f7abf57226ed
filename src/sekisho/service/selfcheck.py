"""The examples that a model's authors and known libraries printed, run here and compared with their numbers.

The examples are data (`data/selfcheck/`, a file a model). A number that disagrees is tried again with the usual causes
undone, one at a time; the one that brings the printed number back is named.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sekisho.catalog.registry import Registry, Spec
from sekisho.contract import Passage
from sekisho.engine.cached import uncached
from sekisho.engine.engine import LocalEngine
from sekisho.engine.pool import Pool
from sekisho.errors import InvalidRequest, SekishoError
from sekisho.service.embed import EmbedRequest, EmbedService
from sekisho.service.prompts import prompt_for, with_prompt
from sekisho.service.published import Arithmetic, Compute, Example, Numbers, Prompted, examples_for
from sekisho.service.rerank import RerankService
from sekisho.service.token_vectors import TokenRequest, TokenVectorService

Status = Literal["reproduced", "near", "mismatch", "not run"]
Verdict = Literal["reproduced", "near", "mismatch", "not run", "unpublished", "unavailable"]

_PAIRS_AT_ONCE = 256


@dataclass(frozen=True)
class Result:
    """How one example came out. error: the largest difference; limit: what was allowed where it stood."""

    id: str
    grade: str
    source: str
    compute: Compute
    status: Status
    error: float | None = None
    limit: float | None = None
    cause: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Report:
    """A model's examples. problem: why the model could not be run, and what to do."""

    model: str
    status: Verdict
    results: tuple[Result, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class _Setup:
    """One way to run an example; the plain one is what a client gets.

    prompts: in place of the registry's. flip: normalise where the example does not, or the reverse.
    """

    prompts: Mapping[str, str] | None = None
    rewrite: Callable[[str], str] = field(default=lambda text: text)
    flip: bool = False
    scale: float = 1
    other_unit: bool = False
    swap: bool = False


class SelfCheck:
    """Runs examples through the service that clients get."""

    def __init__(self, registry: Registry, pool: Pool, jsts: Path | None = None) -> None:
        """`jsts`: JGLUE's JSTS validation file. Raises InvalidRequest where it is none."""
        self._registry = registry
        self._pool = pool
        self._jsts = _read_jsts(jsts) if jsts is not None else []
        # Prompts are put before the texts here, where they can be varied.
        self._embed = EmbedService(registry.altered(prompts={}, default_prompt=None), pool)
        self._rerank = RerankService(registry, pool)
        self._token_vectors = TokenVectorService(registry.altered(prompts={}, default_prompt=None), pool)

    async def check(self, spec: Spec, arithmetic: Arithmetic) -> Report:
        """Never raises for a model that cannot be run: the report says why."""
        examples = examples_for(self._registry, spec)
        if not examples:
            return Report(spec.name, "unpublished")
        try:
            async with self._pool.use(spec):  # around all of them, so that it stays loaded
                results = tuple([await self._result(spec, example, arithmetic) for example in examples])
        except SekishoError as error:
            return Report(spec.name, "unavailable", problem=error.message)
        return Report(spec.name, _verdict(results), results)

    async def _result(self, spec: Spec, example: Example, arithmetic: Arithmetic) -> Result:
        result = Result(example.id, example.grade, example.source, example.compute, "not run", note=example.note)
        reason = self._reason(example)
        if reason is not None:
            return replace(result, note=reason)
        if example.compute == "token_ids":
            return await self._tokens(spec, example, result)
        printed = example.expected
        if arithmetic == "half" and example.expected_half is not None:
            printed = example.expected_half
        expected = _flat(printed) if example.compute == "sparse" else np.array(printed, np.float64)
        limit = example.limit(arithmetic, expected)
        try:
            measured = await self._measure(spec, example, _Setup())
            _same_shape(measured, expected)
        except InvalidRequest as error:
            return replace(result, status="mismatch", cause=f"the example cannot be computed: {error.message}")
        ratio = _worst(measured, expected, limit)
        result = replace(result, **_figures(measured, expected, limit))
        if ratio <= 1:
            return replace(result, status="reproduced")
        for what, setup in _alternatives(example):
            if _worst(await self._measure(spec, example, setup), expected, limit) <= 1:
                return replace(result, status="reproduced", note=f"{what}: {example.note}")
        status: Status = "near" if _worst(measured, expected, example.near(limit)) <= 1 else "mismatch"
        cause = await self._cause(spec, example, expected, limit)
        return replace(result, status=status, cause=cause)

    def _reason(self, example: Example) -> str | None:
        """Why an example cannot be run; None where it can."""
        if example.compute == "jsts" and not self._jsts:
            return "needs JGLUE's JSTS validation file: --jsts FILE"
        return None

    async def _tokens(self, spec: Spec, example: Example, result: Result) -> Result:
        texts = [given if isinstance(given, str) else given.text for given in example.texts]
        async with self._pool.use(spec) as given:
            engine = uncached(given)
            if not isinstance(engine, LocalEngine):
                return replace(result, note="its tokens are made elsewhere")
            got = [list(tokens.ids) for tokens in await engine.tokenize([Passage(text) for text in texts])]
        wrong = [index for index, ids in enumerate(got) if ids != example.expected[index]]
        result = replace(result, error=float(len(wrong)), limit=0.0)
        if not wrong:
            return replace(result, status="reproduced")
        first = wrong[0]
        return replace(
            result,
            status="mismatch",
            cause=f"another tokenizer: {texts[first]!r} gives {got[first]}, published {example.expected[first]}",
        )

    async def _cause(self, spec: Spec, example: Example, expected: Numbers, limit: Numbers) -> str:
        for cause, setup in _suspects(spec, example):
            if _worst(await self._measure(spec, example, setup), expected, limit) <= 1:
                return cause
        return (
            "none of the causes that can be undone here (prompts, spaces, normalisation, NFKC, units); "
            "left are another revision, another model's files, pooling, the tokenizer and the converter"
        )

    async def _measure(self, spec: Spec, example: Example, setup: _Setup) -> Numbers:
        """The example's numbers under one setup. Raises InvalidRequest where the model cannot give them."""
        if example.compute == "scores":
            return await self._scores(spec, example, setup)
        if example.compute == "jsts":
            return await self._correlation(spec, example, setup)
        if example.compute == "sparse":
            return await self._weights(spec, example, setup)
        if example.compute == "colbert":
            return await self._late(spec, example, setup)
        rows = await self._rows(spec, example.texts, example, setup)
        if example.compute == "cosine":
            others = await self._rows(spec, example.against, example, setup) if example.against else rows
            return _unit(rows) @ _unit(others).T * (example.scale * setup.scale)
        if example.compute == "sum":
            total: Numbers = rows.sum(axis=1)
            return total
        if max(example.indices) >= rows.shape[1]:
            raise InvalidRequest(f"the vectors have {rows.shape[1]} components, one published is {example.indices[-1]}")
        return rows[:, list(example.indices)]

    async def _rows(self, spec: Spec, given: Iterable[str | Prompted], example: Example, setup: _Setup) -> Numbers:
        texts = [setup.rewrite(_text(spec, item, setup.prompts)) for item in given]
        normalize = None if example.normalize is None else example.normalize != setup.flip
        request = EmbedRequest(texts, model=spec.name, normalize=normalize)
        return (await self._embed.embed(request)).rows.astype(np.float64)

    async def _scores(self, spec: Spec, example: Example, setup: _Setup) -> Numbers:
        """A call a query, its documents together, as a client would."""
        pairs = [tuple(map(setup.rewrite, reversed(pair) if setup.swap else pair)) for pair in example.pairs]
        logits: dict[tuple[str, ...], float] = {}
        for query in dict.fromkeys(query for query, _ in pairs):
            documents = [document for asked, document in pairs if asked == query]
            scored = (await self._rerank.score(spec.name, query, documents)).logits
            logits |= {(query, document): float(logit) for document, logit in zip(documents, scored, strict=True)}
        values = np.array([logits[pair] for pair in pairs], np.float64)
        return 1 / (1 + np.exp(-values)) if (example.unit == "sigmoid") != setup.other_unit else values

    async def _weights(self, spec: Spec, example: Example, setup: _Setup) -> Numbers:
        """Of each text the weights of the printed tokens, then the largest of those that were not printed."""
        texts = [setup.rewrite(_text(spec, item, setup.prompts)) for item in example.texts]
        weighted = await self._token_vectors.sparse(TokenRequest(texts, model=spec.name))
        named = [{str(token): weight for token, weight in weights.items()} for weights in weighted.weights]
        if example.words:
            named = [await self._by_word(spec, weights) for weights in weighted.weights]
        return np.array(
            [
                weight
                for weights, printed in zip(named, example.expected, strict=True)
                for weight in (
                    *(weights.get(token, 0.0) for token in printed),
                    max((weight for token, weight in weights.items() if token not in printed), default=0.0),
                )
            ]
        )

    async def _by_word(self, spec: Spec, weights: Mapping[int, float]) -> dict[str, float]:
        """Weights by what each token reads."""
        async with self._pool.use(spec) as given:
            engine = uncached(given)
            if not isinstance(engine, LocalEngine):
                raise InvalidRequest("its tokens are made elsewhere")
            words = await engine.decode([[token] for token in weights], skip_special=False)
        return dict(zip((word.strip() for word in words), weights.values(), strict=True))

    async def _late(self, spec: Spec, example: Example, setup: _Setup) -> Numbers:
        """Late interaction: of each query token its best match, their mean (FlagEmbedding BGE_M3 `colbert_score`)."""
        rows = [
            (await self._token_vectors.multi(TokenRequest(texts, model=spec.name))).vectors
            for texts in (
                [setup.rewrite(_text(spec, item, setup.prompts)) for item in given]
                for given in (example.texts, example.against)
            )
        ]
        return np.array([[(query @ text.T).max(axis=1).mean() for text in rows[1]] for query in rows[0]], np.float64)

    async def _correlation(self, spec: Spec, example: Example, setup: _Setup) -> Numbers:
        cosines: list[float] = []
        for start in range(0, len(self._jsts), _PAIRS_AT_ONCE):
            part = self._jsts[start : start + _PAIRS_AT_ONCE]
            sides = [
                [text if example.kind is None else Prompted(text=text, kind=example.kind) for text in side]
                for side in list(zip(*part, strict=True))[:2]
            ]
            first, second = [_unit(await self._rows(spec, side, example, setup)) for side in sides]
            cosines += (first * second).sum(axis=1).tolist()
        return np.array(spearman(cosines, [label for _, _, label in self._jsts]) * example.scale)


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation; equal values share their mean rank."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Sequence[float]) -> Numbers:
    _, inverse, counts = np.unique(np.array(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Numbers = (ends - (counts - 1) / 2)[inverse]
    return ranks


def _flat(printed: Sequence[Mapping[str, float]]) -> Numbers:
    """Printed weights as `_weights` gives them: what was not printed weighs nothing."""
    return np.array([weight for weights in printed for weight in (*weights.values(), 0.0)], np.float64)


def _read_jsts(path: Path) -> list[tuple[str, str, float]]:
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        return [(row["sentence1"], row["sentence2"], float(row["label"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(
            f"the JSTS file cannot be read ({error}): JSON lines with sentence1, sentence2, label"
        ) from None


def _text(spec: Spec, given: str | Prompted, prompts: Mapping[str, str] | None) -> str:
    """A text as the model gets it. A plain one is what the authors wrote, to the letter."""
    if isinstance(given, str):
        return given
    if prompts is not None:
        return with_prompt(prompts.get(given.kind, ""), given.text)[0]
    return with_prompt(_registry_prompt(spec, given.kind), given.text)[0]


def _registry_prompt(spec: Spec, kind: str) -> str:
    try:
        return prompt_for(spec, kind)
    except InvalidRequest:  # prompts for other kinds only
        return ""


def _alternatives(example: Example) -> Iterator[tuple[str, _Setup]]:
    """Where the source leaves open which prompts it used, each of them."""
    if len(example.prompts) > 1:
        for prompts in example.prompts:
            yield ("with its prompts" if any(prompts.values()) else "without prompts"), _Setup(prompts=prompts)


def _suspects(spec: Spec, example: Example) -> Iterator[tuple[str, _Setup]]:
    """The usual causes, each with a setup in which it is undone."""
    kinds = _kinds(example)
    ours = {kind: _registry_prompt(spec, kind) for kind in kinds}
    for authors in example.prompts[:1]:
        wrong = [kind for kind in kinds if ours[kind] != authors.get(kind, "")]
        if wrong:
            told = "; ".join(f"{kind} is {ours[kind]!r}, published with {authors.get(kind, '')!r}" for kind in wrong)
            yield f"the prompts in models.yaml: {told}", _Setup(prompts=authors)
    if any(ours.values()):
        yield "the prompts in models.yaml: without any, the number comes back", _Setup(prompts={})
        yield (
            "the prompts in models.yaml: without their last space, the number comes back",
            _Setup(prompts={kind: prompt.removesuffix(" ") for kind, prompt in ours.items()}),
        )
        if {"query", "document"} <= ours.keys():
            swapped = ours | {"query": ours["document"], "document": ours["query"]}
            yield "the prompts in models.yaml: query and document are swapped", _Setup(prompts=swapped)
    if example.compute in {"values", "sum"}:
        yield "normalisation: the published vectors are of the other kind", _Setup(flip=True)
    if example.compute == "cosine":
        yield "the unit: the published numbers are 100 times the cosine", _Setup(scale=100)
        yield "the unit: the published numbers are no multiple of the cosine", _Setup(scale=1 / example.scale)
    if example.compute == "scores":
        yield "the unit: the published numbers are the other of logit and sigmoid", _Setup(other_unit=True)
        yield "query and document are swapped", _Setup(swap=True)
    if example.compute != "jsts":
        yield "NFKC: the published numbers are of the folded texts", _Setup(rewrite=_folded)


def _kinds(example: Example) -> list[str]:
    given = [item.kind for item in (*example.texts, *example.against) if isinstance(item, Prompted)]
    return list(dict.fromkeys([*given, example.kind] if example.kind is not None else given))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _unit(rows: Numbers) -> Numbers:
    unit: Numbers = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def _same_shape(measured: Numbers, expected: Numbers) -> None:
    if measured.shape != expected.shape:
        raise InvalidRequest(f"it gives numbers of shape {measured.shape}, published are {expected.shape}")


def _worst(measured: Numbers, expected: Numbers, limit: Numbers) -> float:
    """The largest difference in units of what is allowed; what was not printed does not count."""
    return float(np.nanmax(_apart(measured, expected) / limit))


def _apart(measured: Numbers, expected: Numbers) -> Numbers:
    """A number that is none is infinitely far away."""
    apart: Numbers = np.where(np.isfinite(measured), np.abs(measured - expected), np.inf)
    counted: Numbers = np.where(np.isnan(expected), np.nan, apart)
    return counted


def _figures(measured: Numbers, expected: Numbers, limit: Numbers) -> dict[str, Any]:
    apart = np.atleast_1d(_apart(measured, expected)).ravel()
    worst = int(np.nanargmax(apart / np.atleast_1d(limit).ravel()))
    return {"error": float(apart[worst]), "limit": float(np.atleast_1d(limit).ravel()[worst])}


def _verdict(results: Sequence[Result]) -> Verdict:
    present = {result.status for result in results}
    for status in ("mismatch", "near", "reproduced"):
        if status in present:
            return status
    return "not run"
