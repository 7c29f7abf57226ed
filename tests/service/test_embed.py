"""Requests apart from any dialect, over real tiny models."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY

from sekisho.assemble import assemble
from sekisho.errors import BodyTooLarge, InputTooLong, InvalidRequest, ModelNotFound, SekishoError
from sekisho.service.embed import Embedded, EmbedRequest
from sekisho.settings import Settings
from tests.goldens.corpus import load_texts
from tests.goldens_io import cosines, load_golden

Embed = Callable[[EmbedRequest], Embedded]

_PROMPTS = (
    'prompts: {query: "検索クエリ: ", document: "検索文書: ", classification: "classify {task}: ", task: "topics"}'
)
_REGISTRY = f"""\
version: 1
defaults: {{embedding: mean}}
models:
  - {{name: mean, source: {{path: tiny-bert-mean}}, {_PROMPTS}, allow_truncate_dimensions: true}}
  - {{name: plain, source: {{path: tiny-bert-mean}}, normalize: false}}
  - {{name: declared, source: {{path: tiny-bert-mean}}, dimensions: 40, matryoshka: [8, 16]}}
  - {{name: native, source: {{path: tiny-bert-mean}}, token_ids: native}}
  - {{name: no-ids, source: {{path: tiny-bert-mean}}, token_ids: reject}}
  - {{name: strict, source: {{path: tiny-bert-mean}}, truncate: false}}
  - {{name: by-default, source: {{path: tiny-bert-mean}}, {_PROMPTS}, default_prompt: query}}
  - {{name: cls, source: {{path: tiny-bert-cls}}}}
  - {{name: cls-unit, source: {{path: tiny-bert-cls}}, normalize: true}}
  - {{name: ranker, source: {{path: tiny-bert-cls}}, kind: reranker}}
"""


@pytest.fixture(scope="session")
def variants(tiny_registry: Path) -> Path:
    """A registry that says different things of the same checkpoints."""
    path = tiny_registry.with_name("variants.yaml")
    path.write_text(_REGISTRY, "utf-8")
    return path


@pytest.fixture
def embed(variants: Path, minilm_home: Path) -> Embed:
    settings = Settings(models=variants, home=minilm_home, engine="onnxruntime", max_request_tokens=200_000)

    def run(request: EmbedRequest) -> Embedded:
        async def once() -> Embedded:
            parts = assemble(settings)
            try:
                return await parts.embed.embed(request)
            finally:
                await parts.pool.close()

        return asyncio.run(once())

    return run


def norms(rows: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(rows, axis=1)
    return lengths


TEXTS = ["関所", "the weather in the city", "", "a"]


def test_the_default_model_gives_the_golden_vectors(embed: Embed) -> None:
    result = embed(EmbedRequest(load_texts()))
    golden = load_golden("tiny-bert-mean")
    assert result.spec.name == "mean"
    assert cosines(result.rows, golden.vectors).min() > 0.99999
    np.testing.assert_allclose(norms(result.rows), 1, atol=1e-6)
    assert result.tokens == sum(map(len, golden.ids))
    assert result.rows.dtype == np.float32
    assert result.rows.flags.c_contiguous


def test_cut_vectors_are_normalised_again(embed: Embed) -> None:
    full = embed(EmbedRequest(TEXTS)).rows
    cut = embed(EmbedRequest(TEXTS, dimensions=16)).rows
    assert cut.shape == (4, 16)
    np.testing.assert_allclose(cut, full[:, :16] / norms(full[:, :16])[:, None], atol=1e-6)
    assert cut.flags.c_contiguous


def test_the_full_width_may_always_be_asked_for(embed: Embed) -> None:
    for model, width in (("mean", 40), ("plain", 40), ("declared", 40), ("cls", 36)):
        whole = embed(EmbedRequest(TEXTS, model=model)).rows
        np.testing.assert_array_equal(embed(EmbedRequest(TEXTS, model=model, dimensions=width)).rows, whole)


@pytest.mark.parametrize(
    ("model", "dimensions", "message"),
    [
        ("mean", 41, "1 to 40"),
        ("mean", -1, "1 to 40"),
        ("declared", 12, "8, 16, 40 dimensions, not 12"),
        ("declared", 41, "8, 16, 40 dimensions, not 41"),
        ("cls", 12, "36 dimensions, not 12"),
        ("cls", 37, "36 dimensions, not 37"),
    ],
)
def test_dimensions_the_model_does_not_offer(embed: Embed, model: str, dimensions: int, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as refused:
        embed(EmbedRequest(TEXTS, model=model, dimensions=dimensions))
    assert refused.value.param == "dimensions"


def test_declared_dimensions(embed: Embed) -> None:
    assert embed(EmbedRequest(TEXTS, model="declared", dimensions=8)).rows.shape == (4, 8)


def test_without_normalising_the_vector_is_the_plain_one(embed: Embed) -> None:
    """The graph that normalises gives its norms beside, so undoing it equals a graph that does not."""
    plain = embed(EmbedRequest(TEXTS, model="plain")).rows
    assert (np.abs(norms(plain) - 1) > 0.01).all()
    np.testing.assert_allclose(embed(EmbedRequest(TEXTS, normalize=False)).rows, plain, rtol=1e-5, atol=1e-5)
    cut = embed(EmbedRequest(TEXTS, normalize=False, dimensions=8)).rows
    np.testing.assert_allclose(cut, plain[:, :8], rtol=1e-5, atol=1e-5)
    unit = embed(EmbedRequest(TEXTS, model="plain", normalize=True)).rows
    np.testing.assert_allclose(norms(unit), 1, atol=1e-6)


def test_a_checkpoint_that_does_not_normalise_keeps_its_norms(embed: Embed) -> None:
    golden = load_golden("tiny-bert-cls")
    rows = embed(EmbedRequest(load_texts(), model="cls")).rows
    np.testing.assert_allclose(norms(rows), norms(golden.vectors), rtol=1e-4)
    np.testing.assert_allclose(rows, golden.vectors, atol=2e-4)
    asked = embed(EmbedRequest(load_texts(), model="cls", normalize=True)).rows
    np.testing.assert_allclose(asked, golden.vectors / norms(golden.vectors)[:, None], atol=2e-5)
    np.testing.assert_allclose(embed(EmbedRequest(load_texts(), model="cls-unit")).rows, asked, atol=1e-6)


def test_a_prompt_is_put_before_each_text_once(embed: Embed) -> None:
    asked = embed(EmbedRequest(["猫", "検索クエリ: 犬"], kind="query"))
    by_hand = embed(EmbedRequest(["検索クエリ: 猫", "検索クエリ: 犬"]))
    np.testing.assert_array_equal(asked.rows, by_hand.rows)
    assert asked.tokens == by_hand.tokens
    np.testing.assert_array_equal(embed(EmbedRequest(["猫", "犬"], model="by-default")).rows, by_hand.rows)


def test_the_older_flag_goes_by_the_shape_of_the_input(embed: Embed) -> None:
    query = embed(EmbedRequest(["猫"], apply_ruri_prefix=True, single=True)).rows
    document = embed(EmbedRequest(["猫"], apply_ruri_prefix=True)).rows
    np.testing.assert_array_equal(query, embed(EmbedRequest(["検索クエリ: 猫"])).rows)
    np.testing.assert_array_equal(document, embed(EmbedRequest(["検索文書: 猫"])).rows)


def test_an_instruction_reaches_the_prompt(embed: Embed) -> None:
    asked = embed(EmbedRequest(["猫"], kind="classification", instruction="cats")).rows
    np.testing.assert_array_equal(asked, embed(EmbedRequest(["classify cats: 猫"])).rows)
    default = embed(EmbedRequest(["猫"], kind="classification")).rows
    np.testing.assert_array_equal(default, embed(EmbedRequest(["classify topics: 猫"])).rows)


def test_truncation_keeps_the_prompt_and_is_counted(embed: Embed) -> None:
    before = REGISTRY.get_sample_value("sekisho_truncated_total", {"model": "mean"}) or 0
    request = EmbedRequest(["a " * 600 + "the cat", "short"], kind="query")
    cut = embed(request)
    assert cut.truncated == 1
    assert REGISTRY.get_sample_value("sekisho_truncated_total", {"model": "mean"}) == before + 1
    short = embed(EmbedRequest(["検索クエリ: short"]))
    assert cut.tokens == 512 + short.tokens
    start = embed(replace(request, truncation="start"))
    assert start.tokens == cut.tokens
    assert not np.array_equal(start.rows[0], cut.rows[0])
    prompt_tokens = embed(EmbedRequest(["検索クエリ: "])).tokens - 2
    room = 510 - prompt_tokens
    by_hand = embed(EmbedRequest(["検索クエリ: " + "a " * (room - 2) + "the cat"]))
    assert by_hand.truncated == 0
    assert cosines(start.rows[:1], by_hand.rows)[0] > 0.999999


def test_refusing_truncation_tells_the_count_and_the_limit(embed: Embed) -> None:
    long = ["short", "a " * 600]
    for request in (EmbedRequest(long, truncation="none"), EmbedRequest(long, model="strict")):
        with pytest.raises(InputTooLong, match=r"input\[1\] is 602 tokens long and the model reads 512"):
            embed(request)
    assert embed(EmbedRequest(long, model="strict", truncation="end")).truncated == 1


def test_ids_of_openais_tokenizer_are_text(embed: Embed) -> None:
    given = embed(EmbedRequest([(15339, 1917)], kind="document"))
    np.testing.assert_array_equal(given.rows, embed(EmbedRequest(["検索文書: hello world"])).rows)


def test_native_ids_are_the_models_own(embed: Embed) -> None:
    golden = load_golden("tiny-bert-mean")
    index = 30
    whole, bare = tuple(golden.ids[index]), tuple(golden.ids[index][1:-1])
    result = embed(EmbedRequest([whole, bare], model="native"))
    assert cosines(result.rows, golden.vectors[[index, index]]).min() > 0.99999
    with pytest.raises(InvalidRequest, match="1021; this model's vocabulary ends at 1020"):
        embed(EmbedRequest([(1021,)], model="native"))


def test_a_model_may_refuse_ids(embed: Embed) -> None:
    with pytest.raises(InvalidRequest, match="check_embedding_ctx_length=False"):
        embed(EmbedRequest(["a", (15339,)], model="no-ids"))


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (EmbedRequest([]), InvalidRequest),
        (EmbedRequest(["a"], model="nobody"), ModelNotFound),
        (EmbedRequest(["a"], model="ranker"), InvalidRequest),
        (EmbedRequest(["a"], kind="nonsense"), InvalidRequest),
        (EmbedRequest(["a " * 510] * 500), BodyTooLarge),
    ],
)
def test_what_cannot_be_served(embed: Embed, request_: EmbedRequest, error: type[SekishoError]) -> None:
    with pytest.raises(error):
        embed(request_)
