"""The seam: passages in, rows out; with a real tiny model and with a fake one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import pytest

from sekisho.contract import Inference, Passage, Tokens
from sekisho.engine.batching import Limits
from sekisho.engine.engine import LocalEngine
from sekisho.engine.scheduler import Scheduler
from sekisho.engine.ticket import Result
from sekisho.errors import BodyTooLarge, InputTooLong, InvalidRequest
from sekisho.runtime.model import LocalModel, Model
from tests.engine.doubles import CONTRACT, WITH_HEADS, FakeModel, row_of, vectors_of
from tests.goldens.corpus import load_texts
from tests.goldens_io import cosines, load_golden


@asynccontextmanager
async def engine_over(model: Model, max_request_tokens: int = 1_000_000) -> AsyncIterator[LocalEngine]:
    """The scheduler of `close` without the model's own, which other tests share."""
    scheduler = Scheduler("engine-test", model, Limits(), 8_000_000)
    with ThreadPoolExecutor(2) as tokenizing:
        yield LocalEngine(model, scheduler, tokenizing, max_request_tokens)
        await asyncio.to_thread(scheduler.close)


def test_rows_norms_tokens_and_cuts_of_a_request() -> None:
    async def scenario() -> None:
        async with engine_over(FakeModel()) as engine:
            texts = ["ab", "", "x" * 600, "c"]
            result = await engine.infer([Passage(text) for text in texts], "end")
            np.testing.assert_array_equal(result.rows, [row_of([ord(c) for c in text[:512]]) for text in texts])
            assert result.norms is not None
            assert result.norms.tolist() == [2, 0, 512, 1]
            assert (result.tokens, result.truncated) == (515, 1)
            assert min(result.timings.queue, result.timings.tokenize, result.timings.inference) >= 0
            assert engine.contract is CONTRACT
            assert engine.queued_tokens == 0
            assert engine.healthy

    asyncio.run(scenario())


def test_heads_are_given_to_those_who_ask_and_refused_where_there_are_none() -> None:
    async def scenario() -> None:
        async with engine_over(FakeModel(contract=WITH_HEADS)) as engine:
            passages = [Passage("abc"), Passage("x" * 600)]
            plain = await engine.infer(passages, "end")
            assert plain.heads == {}
            result = await engine.infer(passages, "end", ("colbert",))
            np.testing.assert_array_equal(result.rows, plain.rows)
            assert [list(text.ids) for text in result.texts] == [[97, 98, 99], [120] * 512]
            (vectors,) = result.heads.values()
            for own, text in zip(vectors, result.texts, strict=True):
                np.testing.assert_array_equal(own, vectors_of(text.ids))
        model = FakeModel()
        async with engine_over(model) as engine:
            with pytest.raises(InvalidRequest, match="gives no sparse vectors"):
                await engine.infer([Passage("a")], "end", ("sparse",))
            assert not model.batches

    asyncio.run(scenario())


def test_more_tokens_than_a_request_may_hold() -> None:
    async def scenario() -> None:
        model = FakeModel()
        async with engine_over(model, max_request_tokens=10) as engine:
            await engine.infer([Passage("0123456789")], "end")
            with pytest.raises(BodyTooLarge, match="11 tokens"):
                await engine.infer([Passage("0123456789"), Passage("x")], "end")
            assert len(model.batches) == 1

    asyncio.run(scenario())


def test_closing_closes_the_model() -> None:
    async def scenario() -> None:
        model = FakeModel()
        with ThreadPoolExecutor(1) as tokenizing:
            engine = LocalEngine(model, Scheduler("closing", model, Limits(), 100), tokenizing, 100)
            await asyncio.to_thread(engine.close)
        assert model.closed

    asyncio.run(scenario())


def test_the_corpus_through_the_queue_gives_the_golden_rows(tiny_model: LocalModel) -> None:
    """Every text a request of its own, all at once, so the batches are whatever the moment makes them."""

    async def scenario() -> list[Inference]:
        async with engine_over(tiny_model) as engine:
            return await asyncio.gather(*(engine.infer([Passage(text)], "end") for text in load_texts()))

    golden = load_golden("tiny-bert-mean")
    results = asyncio.run(scenario())
    assert [result.tokens for result in results] == list(map(len, golden.ids))
    rows = np.concatenate([result.rows for result in results])
    assert cosines(rows, golden.vectors).min() > 0.99999


def test_the_real_tokenizer_refuses_what_is_too_long_where_asked(tiny_model: LocalModel) -> None:
    async def scenario() -> None:
        async with engine_over(tiny_model) as engine:
            with pytest.raises(InputTooLong, match=r"input\[1\] is 702 tokens"):
                await engine.infer([Passage("a"), Passage("a " * 700)], "none")

    asyncio.run(scenario())


def test_thousands_of_texts_at_once_through_a_real_model(tiny_model: LocalModel) -> None:
    """Each row equals that of the same ids run alone, whatever company it had."""
    rng = random.Random(3)
    vocabulary = tiny_model.contract.vocabulary
    distinct = [Tokens([2, *rng.choices(range(5, vocabulary), k=rng.randint(1, 60)), 3]) for _ in range(300)]
    alone = np.concatenate([tiny_model.run(0, [tokens])[0] for tokens in distinct])
    requests = [rng.sample(range(300), rng.choice([1, 2, 3, 20])) for _ in range(500)]
    assert sum(map(len, requests)) > 2000

    async def scenario() -> list[Result]:
        scheduler = Scheduler("real", tiny_model, Limits(), 8_000_000)
        try:
            return await asyncio.gather(*(scheduler.run([distinct[i] for i in wanted]) for wanted in requests))
        finally:
            await asyncio.to_thread(scheduler.close)

    for wanted, result in zip(requests, asyncio.run(scenario()), strict=True):
        np.testing.assert_allclose(result.outputs[0], alone[wanted], atol=2e-6)
