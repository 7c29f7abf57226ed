"""A model that another service runs: passages become calls of its API, their answers rows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sekisho.catalog.registry import Spec, Upstream
from sekisho.contract import Contract, Inference, Passage, Rows, Timings, Tokens, Truncation
from sekisho.engine.calls import Group, Piece, grouped, merged, pieces
from sekisho.errors import InvalidRequest, Overloaded, UpstreamFailed
from sekisho.observability import REFUSED
from sekisho.runtime.remote import DIALECTS
from sekisho.runtime.remote.caller import Called, Caller, TooMany
from sekisho.runtime.remote.dialect import Dialect, Operation, Pairs, Texts
from sekisho.runtime.remote.failures import keyless
from sekisho.runtime.remote.service import Service

#: A request that would bring more calls than this together is refused, unless it is the only one.
_MOST_PENDING = 1000
#: How far from 1 the length of a vector may be that its service normalised, in float16 perhaps.
_UNIT_TOLERANCE = 1e-3
_CLOSE_SECONDS = 5.0

#: Texts → the body of a call with them.
Body = Callable[[Sequence[str]], dict[str, Any]]


class RemoteEngine:
    """The model of a spec with `upstream`. Always healthy: what is down elsewhere is no reason to stop this server."""

    def __init__(self, spec: Spec, upstream: Upstream, key: str | None) -> None:
        """`key`: the value of `key_env`; None: the variable is not set, or there is none."""
        self.contract = _contract(spec, upstream)
        self._spec = spec
        self._upstream = upstream
        self._dialect: Dialect = DIALECTS[upstream.api]
        usable = key is not None and key.isascii() and key.isprintable()
        self._service = _service(spec, upstream, key if usable else None)
        self._caller = Caller(self._service, self._dialect.too_many)
        self._operation: Operation = self._dialect.embed if spec.kind == "embedding" else self._dialect.rerank
        self._most = upstream.batch or self._operation.most
        self._learned = spec.kind == "reranker"
        self._pending = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def queued_tokens(self) -> int:
        """Nobody counted them."""
        return 0

    @property
    def healthy(self) -> bool:
        return True

    @property
    def learned(self) -> bool:
        """Whether the contract says what only an answer tells."""
        return self._learned

    async def infer(self, passages: Sequence[Passage], truncation: Truncation, heads: Sequence[str] = ()) -> Inference:
        """Raises InvalidRequest, BodyTooLarge, Overloaded and the errors of an upstream."""
        self._loop = asyncio.get_running_loop()
        self._check(passages, truncation, heads)
        groups = [
            (group, self._body(group, truncation))
            for group in grouped(passages, takes_empty=self._dialect.takes_empty)
        ]  # fmt: skip
        answers = await self._answers(groups)
        rows, norms = self._unit(merged(answers, len(passages)), asked=passages[0].dimensions)
        calls = [called for _, called in answers]
        return Inference(
            rows=rows,
            norms=norms,
            tokens=sum(called.answer.tokens or 0 for called in calls),
            truncated=sum(called.answer.truncated for called in calls),
            timings=Timings(queue=calls[0].waited, inference=max(called.took for called in calls)),
            scored=self._spec.kind == "reranker" and not self._dialect.logits,
        )

    async def tokenize(self, passages: Sequence[Passage]) -> list[Tokens]:
        """Raises InvalidRequest: the tokenizer is elsewhere."""
        raise InvalidRequest(
            f"The model {self._spec.name!r} runs at another service, and so does its tokenizer: ask for vectors only",
            param="model",
        )

    def close(self) -> None:
        """From another thread than the event loop's, as the pool does it."""
        if self._loop is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._caller.close(), self._loop).result(_CLOSE_SECONDS)

    def _check(self, passages: Sequence[Passage], truncation: Truncation, heads: Sequence[str]) -> None:
        if heads:
            raise InvalidRequest(f"This model gives no {heads[0]} vectors: another service runs it", param="model")
        if self._upstream.key_env is not None and self._service.key is None:
            raise keyless(self._service)
        if truncation not in self._operation.truncations:
            raise InvalidRequest("This model's service can cut the end of a text, not its start", param="truncate")
        asked = passages[0].dimensions
        if asked is not None and asked < 1:
            raise InvalidRequest(f"`dimensions` is {asked}: ask for at least 1", param="dimensions")
        _refuse_broken(passages)

    def _body(self, group: Group, truncation: Truncation) -> Body:
        """Texts → the body of a call with them."""
        model, spec = self._upstream.model, self._spec
        if group.query is not None:
            query, tokens = group.query, group.document_tokens
            return lambda texts: self._operation.body(Pairs(model, query, tuple(texts), truncation, tokens))
        kind = self._kind(group.kind)
        # Cut here where the registry allows it, whatever the service can do; and its own width needs no asking for.
        asked = None if spec.allow_truncate_dimensions or group.dimensions == spec.dimensions else group.dimensions
        return lambda texts: self._operation.body(Texts(model, tuple(texts), truncation, kind, asked, spec.normalize))

    def _kind(self, kind: str | None) -> str | None:
        """What the service calls a kind of text. Where the registry has prompts, they have said it already."""
        kinds = self._dialect.kinds if self._upstream.kinds is None else self._upstream.kinds
        if kind is not None and kind in kinds:
            return kinds[kind]
        if kind is not None and kinds and not self._spec.prompts:
            raise InvalidRequest(
                f"The model {self._spec.name!r} knows no texts of the kind {kind!r}. It knows: {', '.join(kinds)}",
                param="input_type",
            )
        return self._dialect.default_kind

    async def _answers(self, groups: Sequence[tuple[Group, Body]]) -> list[tuple[Piece, Called]]:
        """Every piece of every group and what its call gave; one that fails takes the others with it."""
        most_chars = self._operation.most_chars
        waiting = deque((piece, body) for group, body in groups for piece in pieces(group, self._most, most_chars))
        count = len(waiting)
        if self._pending and self._pending + count > _MOST_PENDING:
            REFUSED.labels(self._spec.name).inc()
            raise Overloaded(
                f"{self._pending:,} calls are waiting for the service behind {self._spec.name!r}: try again later, or "
                "raise `concurrency` of its `upstream` in models.yaml"
            )
        answers: list[tuple[Piece, Called]] = []
        self._pending += count
        try:
            # No more at once than may run, so that a large request and a small one take turns.
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(count, self._upstream.concurrency)):
                    tasks.create_task(self._work(waiting, answers))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            self._pending -= count
        return answers

    async def _work(self, waiting: deque[tuple[Piece, Body]], answers: list[tuple[Piece, Called]]) -> None:
        while waiting:
            piece, body = waiting.popleft()
            count = len(piece.texts)
            try:
                answers.append((piece, await self._caller.call(self._operation, body(piece.texts), count)))
            except TooMany as error:
                if error.most >= count:
                    raise UpstreamFailed(
                        f"The service behind {self._spec.name!r} refuses {count} texts as more than {error.most}"
                    ) from None
                self._most = error.most
                waiting.extendleft((part, body) for part in piece.split(error.most))

    def _unit(self, rows: Rows, asked: int | None) -> tuple[Rows, Rows | None]:
        """The rows as the contract promises them, and the lengths they had; the contract learns from the first ones."""
        if self._spec.kind == "reranker":
            return rows, None
        self._check_width(rows.shape[1], asked)
        lengths = np.linalg.norm(rows, axis=1)
        unit = bool((np.abs(lengths - 1) < _UNIT_TOLERANCE).all())
        cut = asked is not None and rows.shape[1] == asked
        if not cut and not self._learned:
            self._learned = True
            normalized = unit if self._spec.normalize is None else self._spec.normalize
            self.contract = replace(self.contract, width=rows.shape[1], normalized=normalized)
        wanted = self.contract.normalized or (cut and self._spec.normalize is None)
        if unit or not wanted:
            return rows, None
        return rows / np.maximum(lengths, np.float32(1e-12))[:, None], lengths

    def _check_width(self, width: int, asked: int | None) -> None:
        spec = self._spec
        if asked is not None and not spec.allow_truncate_dimensions and width != asked:
            raise InvalidRequest(
                f"The model {spec.name!r} gives vectors of {width} dimensions, not {asked}: leave `dimensions` out",
                param="dimensions",
            )
        if asked is not None and asked > width:
            raise InvalidRequest(f"`dimensions` is {asked}; this model's vectors have 1 to {width}", param="dimensions")
        if asked is None and spec.dimensions is not None and width != spec.dimensions:
            raise UpstreamFailed(
                f"The service behind {spec.name!r} gives vectors of {width} dimensions, and models.yaml says "
                f"{spec.dimensions}: correct `dimensions`, or `model` of its `upstream`"
            )


def _contract(spec: Spec, upstream: Upstream) -> Contract:
    """What is known before the first answer: what the registry says; 0 stands for what it does not."""
    return Contract(
        kind=spec.kind,
        family=upstream.api,
        inputs=(),
        outputs=("embedding",) if spec.kind == "embedding" else ("logits",),
        width=1 if spec.kind == "reranker" else spec.dimensions or 0,
        max_tokens=spec.max_tokens or 0,
        pad_id=0,
        vocabulary=0,
        pooling=None,
        normalized=bool(spec.normalize),
        parameters=spec.parameters or 0,
    )


def _service(spec: Spec, upstream: Upstream, key: str | None) -> Service:
    return Service(
        name=spec.name,
        model=upstream.model,
        urls=upstream.base_url,
        key=key,
        key_env=upstream.key_env,
        timeout_seconds=upstream.timeout.total_seconds() if upstream.timeout is not None else 30.0,
        concurrency=upstream.concurrency,
        retries=upstream.retries,
    )


def _refuse_broken(passages: Sequence[Passage]) -> None:
    """Half a surrogate pair has no form in JSON; a local model's tokenizer refuses it in the same words."""
    for index, passage in enumerate(passages):
        try:
            (passage.text + (passage.pair or "")).encode()
        except UnicodeEncodeError:
            raise InvalidRequest(
                f"{passage.field}[{index}] holds half of a surrogate pair, which is no character", param=passage.field
            ) from None
