"""What cannot be asked of a model that another service runs, or of one that has no such head."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sekisho.assemble import Parts, assemble
from sekisho.errors import InvalidRequest
from sekisho.service.embed import EmbedRequest
from sekisho.service.predict import predict
from sekisho.settings import Settings

_REGISTRY = """\
version: 1
defaults: {embedding: far, reranker: far-ranker}
models:
  - name: far
    upstream: {api: openai, base_url: "http://127.0.0.1:9/v1", model: x}
  - name: far-ranker
    kind: reranker
    upstream: {api: cohere, base_url: "http://127.0.0.1:9", model: x}
  - name: judge
    kind: reranker
    source: {path: not-there}
    heads: [yes_no]
    template: {body: "{query} {document}"}
"""

Work = Callable[[Parts], Awaitable[Any]]


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[Work], InvalidRequest]:
    """What a call is answered, before anything is fetched, loaded or sent."""
    (tmp_path / "models.yaml").write_text(_REGISTRY, "utf-8")
    settings = Settings(models=tmp_path / "models.yaml", home=tmp_path / "home")

    def run(work: Work) -> InvalidRequest:
        async def once() -> None:
            parts = assemble(settings)
            try:
                await work(parts)
            finally:
                await parts.pool.close()

        with pytest.raises(InvalidRequest) as raised:
            asyncio.run(once())
        return raised.value

    return run


def test_tokens_of_a_model_elsewhere(refused: Callable[[Work], InvalidRequest]) -> None:
    for work in (lambda parts: parts.tokens.tokenize(["a"]), lambda parts: parts.tokens.decode([[1]])):
        error = refused(work)
        assert error.message == "The model 'far' runs elsewhere, and so does its tokenizer"
        assert error.param == "model"


def test_so_many_tokens_of_a_model_elsewhere(refused: Callable[[Work], InvalidRequest]) -> None:
    error = refused(lambda parts: parts.embed.embed(EmbedRequest(["a"], text_tokens=3)))
    assert "leave `max_tokens` out" in error.message
    assert error.param == "max_tokens"


@pytest.mark.parametrize("model", ["far-ranker", "judge"])
def test_models_that_read_pairs_alone(refused: Callable[[Work], InvalidRequest], model: str) -> None:
    error = refused(lambda parts: predict(parts.catalog.registry, parts.pool, [("a", None)], model=model))
    assert error.message == f"{model!r} reads a query and a text: send pairs"
    assert error.param == "inputs"
