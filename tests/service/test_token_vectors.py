"""bge-m3's weights of words and vectors of tokens through the whole road, against torch's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from tokenizers import Tokenizer

from sekisho.assemble import Parts, assemble
from sekisho.contract import Tokens
from sekisho.errors import InputTooLong, InvalidRequest
from sekisho.service.embed import EmbedRequest
from sekisho.service.token_vectors import TokenRequest, word_weights
from sekisho.settings import Settings
from tests.checkpoints_m3 import BASE, TINY_M3S, TinyM3, write_tiny_m3
from tests.goldens.m3 import load_golden, some_texts

T = TypeVar("T")

REGISTRY = f"""\
version: 1
defaults: {{embedding: m3}}
models:
  - {{name: m3, source: {{path: checkpoint}}, max_tokens: {BASE.limit}, heads: [sparse, colbert], precision: fp32}}
  - {{name: plain, source: {{path: checkpoint}}, max_tokens: {BASE.limit}, precision: fp32}}
"""


@pytest.fixture(scope="module", params=TINY_M3S, ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> TinyM3:
    chosen: TinyM3 = request.param
    return chosen


@pytest.fixture(scope="module")
def home(spec: TinyM3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("m3")
    write_tiny_m3(spec, directory / "checkpoint")
    (directory / "models.yaml").write_text(REGISTRY, "utf-8")
    return directory


def run(home: Path, work: Callable[[Parts], Awaitable[T]], engine: str = "onnxruntime") -> T:
    parts = assemble(Settings(models=home / "models.yaml", home=home / "home", engine=engine))  # type: ignore[arg-type]

    async def whole() -> T:
        try:
            return await work(parts)
        finally:
            await parts.pool.close()

    return asyncio.run(whole())


def specials(home: Path) -> set[int | None]:
    """FlagEmbedding's unused tokens: cls, eos, pad, unk."""
    tokenizer = Tokenizer.from_file(str(home / "checkpoint" / "tokenizer.json"))
    return {tokenizer.token_to_id(token) for token in ("<s>", "</s>", "<pad>", "<unk>")}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_weights_are_the_largest_of_each_word_without_special_tokens(spec: TinyM3, home: Path, engine: str) -> None:
    golden, unused = load_golden(spec.name), specials(home)
    result = run(home, lambda parts: parts.token_vectors.sparse(TokenRequest(some_texts())), engine)
    assert len(result.weights) == len(golden.ids)
    for made, ids, weights in zip(result.weights, golden.ids, golden.sparse, strict=True):
        expected: dict[int, float] = {}
        for token, weight in zip(ids, weights.tolist(), strict=True):
            if token not in unused and weight > 1e-5:
                expected[token] = max(weight, expected.get(token, 0.0))
        assert not unused & made.keys()
        assert {token for token, weight in made.items() if weight > 1e-4} <= expected.keys()
        for token, weight in expected.items():
            assert made.get(token, 0.0) == pytest.approx(weight, rel=1e-4, abs=2e-5)
    assert any(3 in ids for ids in golden.ids), "no unknown token in the texts"
    assert result.tokens == sum(map(len, golden.ids))
    assert result.truncated == sum(len(ids) == BASE.limit for ids in golden.ids) > 0


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_every_token_but_the_first_has_its_vector(spec: TinyM3, home: Path, engine: str) -> None:
    golden = load_golden(spec.name)
    result = run(home, lambda parts: parts.token_vectors.multi(TokenRequest(some_texts())), engine)
    for made, expected in zip(result.vectors, golden.colbert, strict=True):
        assert made.shape == expected.shape
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, expected, atol=2e-5)


def test_vectors_and_weights_share_batches_without_harm(spec: TinyM3, home: Path) -> None:
    texts = some_texts()

    async def work(parts: Parts) -> None:
        alone = (await parts.embed.embed(EmbedRequest(texts))).rows
        weights = (await parts.token_vectors.sparse(TokenRequest(texts))).weights
        asked = [
            asyncio.gather(
                parts.embed.embed(EmbedRequest([text])),
                parts.token_vectors.sparse(TokenRequest([text])),
                parts.token_vectors.multi(TokenRequest([text])),
            )
            for text in texts
        ]
        for place, (embedded, weighted, multi) in enumerate(await asyncio.gather(*asked)):
            np.testing.assert_allclose(embedded.rows[0], alone[place], atol=2e-6)
            assert weighted.weights[0] == pytest.approx(weights[place], abs=1e-5)
            assert len(multi.vectors[0]) == embedded.tokens - 1

    run(home, work)


def test_what_a_model_does_not_give_and_what_cannot_be_read_is_refused(spec: TinyM3, home: Path) -> None:
    async def work(parts: Parts) -> None:
        with pytest.raises(InvalidRequest, match=r"'plain' gives no sparse vectors\. Models that do: m3"):
            await parts.token_vectors.sparse(TokenRequest(["a"], model="plain"))
        with pytest.raises(InvalidRequest, match=r"'plain' gives no colbert vectors"):
            await parts.token_vectors.multi(TokenRequest(["a"], model="plain"))
        with pytest.raises(InvalidRequest, match="`inputs` is an empty list"):
            await parts.token_vectors.sparse(TokenRequest([]))
        with pytest.raises(InputTooLong, match=r"^inputs\[1\] is"):
            await parts.token_vectors.multi(TokenRequest(["a", "a " * 500], truncation="none"))
        assert parts.pool.state(parts.catalog.registry.find("plain")) == "unloaded"

    run(home, work)


def test_a_word_that_comes_twice_has_its_larger_weight() -> None:
    weights = np.array([0, 0.25, 0.5, 0, 0.125, 0.375, 0], np.float32)
    assert word_weights(Tokens([0, 9, 7, 8, 7, 9, 2]), weights) == {9: 0.375, 7: 0.5}
    assert word_weights(Tokens([0, 2]), np.zeros(2, np.float32)) == {}
