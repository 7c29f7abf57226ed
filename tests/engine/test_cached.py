"""An engine behind kept results answers as the engine alone, and computes each text once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.contract import Contract, Inference, Passage, Timings, Tokens, Truncation
from sekisho.engine.cached import MOST_CHARS, CachedEngine, uncached
from sekisho.engine.engine import LocalEngine
from sekisho.engine.memory_store import MemoryStore
from sekisho.engine.result_key import Keys
from sekisho.engine.result_store import ResultStore
from sekisho.engine.results import Result
from sekisho.errors import BodyTooLarge, InputTooLong, InternalError, InvalidRequest, Overloaded
from tests.engine.doubles import CONTRACT, WITH_HEADS, Bench, FakeModel, row_of, until

DAY = 86_400


class Setting:
    """A real scheduler over a fake model, bare and behind kept results; `days` that pass."""

    def __init__(
        self,
        tokenizing: ThreadPoolExecutor,
        *,
        max_request_tokens: int = 10_000_000,
        max_queue_tokens: int = 10_000_000,
        contract: Contract = CONTRACT,
        mib: int = 8,
    ) -> None:
        self.bench = Bench(max_queue_tokens=max_queue_tokens, contract=contract)
        self.model: FakeModel = self.bench.model
        self.days = 0.0
        self.results = ResultStore(MemoryStore(mib << 20), None, DAY, lambda: 1e9 + self.days * DAY)
        self.bare = LocalEngine(self.model, self.bench.scheduler, tokenizing, max_request_tokens)
        self.engine = self.another()

    def another(self, identity: bytes = b"model", max_request_tokens: int = 10_000_000) -> CachedEngine:
        """A server of its own over the same results."""
        return CachedEngine(self.bench.name, self.bare, self.results, Keys(identity), max_request_tokens)

    async def ask(self, *texts: str, truncation: Truncation = "end", engine: CachedEngine | None = None) -> Inference:
        return await (engine or self.engine).infer([Passage(text) for text in texts], truncation)

    def start(self, *texts: str, **rest: Any) -> asyncio.Task[Inference]:
        return asyncio.create_task(self.ask(*texts, **rest))

    def counts(self) -> tuple[float, ...]:
        """Hits, misses, joined."""
        return tuple(self.bench.metric(f"sekisho_cache_{name}_total") for name in ("hits", "misses", "joined"))

    @property
    def run(self) -> list[str]:
        """Every text that the model ran, as often as it did."""
        return ["".join(map(chr, tokens.ids)) for batch in self.model.batches for tokens in batch]


@asynccontextmanager
async def setting(**options: Any) -> AsyncIterator[Setting]:
    with ThreadPoolExecutor(1) as tokenizing:
        made = Setting(tokenizing, **options)
        try:
            yield made
        finally:
            made.model.release()
            await asyncio.to_thread(made.bench.scheduler.close)


def scenario(**options: Any) -> Callable[[Callable[[Setting], Coroutine[Any, Any, None]]], Callable[[], None]]:
    """A test on an event loop of its own."""

    def decorate(body: Callable[[Setting], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        def test() -> None:
            async def run() -> None:
                async with setting(**options) as on:
                    await body(on)

            asyncio.run(run())

        test.__doc__ = body.__doc__
        return test

    return decorate


def assert_same(one: Inference, other: Inference) -> None:
    """All that a service reads, bit for bit, but the timings."""
    assert one.rows.dtype == other.rows.dtype == np.float32
    assert one.rows.shape == other.rows.shape
    assert one.rows.tobytes() == other.rows.tobytes()
    assert one.norms is not None
    assert other.norms is not None
    assert np.ascontiguousarray(one.norms).tobytes() == np.ascontiguousarray(other.norms).tobytes()
    assert (one.tokens, one.truncated, one.scored) == (other.tokens, other.truncated, other.scored)
    assert [(len(each), bool(each.truncated)) for each in one.counts] == [
        (len(each), bool(each.truncated)) for each in other.counts
    ]


@scenario()
async def test_a_hit_is_what_was_computed_with_its_counts_and_no_time(on: Setting) -> None:
    texts = ["ab", "", "x" * 600]
    first, second = await on.ask(*texts), await on.ask(*texts)
    assert_same(first, second)
    assert_same(second, await on.bare.infer([Passage(text) for text in texts], "end"))
    assert (second.tokens, second.truncated) == (514, 1)
    assert second.timings == Timings()
    assert first.timings.inference > 0
    assert on.counts() == (3, 3, 0)
    assert len(on.run) == 2 * 3  # once for the cache, once bare


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "bc", "", "y" * 513, "東京", "z" * 3000]), min_size=1, max_size=6), max_size=6
    )
)
def test_requests_of_any_mix_are_answered_as_without(requests: list[list[str]]) -> None:
    @scenario()
    async def test(on: Setting) -> None:
        answers = await asyncio.gather(*(on.ask(*texts) for texts in requests))
        later = [await on.ask(*texts) for texts in requests]
        for texts, one, other in zip(requests, answers, later, strict=True):
            bare = await on.bare.infer([Passage(text) for text in texts], "end")
            assert_same(one, bare)
            assert_same(other, bare)
        assert sum(on.counts()) == 2 * sum(map(len, requests))

    test()


@scenario()
async def test_only_what_is_missing_is_computed_and_all_come_in_order(on: Setting) -> None:
    await on.ask("b", "d")
    on.model.batches.clear()
    result = await on.ask("a", "b", "c", "d", "a")
    np.testing.assert_array_equal(result.rows, [row_of([ord(char)]) for char in "abcda"])
    assert sorted(on.run) == ["a", "c"]
    assert on.counts() == (2, 4, 1)


@scenario()
async def test_equal_texts_in_flight_are_computed_once(on: Setting) -> None:
    plugs = await on.bench.occupy()
    tasks = [on.start("same") for _ in range(20)]
    others = on.start("own", "same")
    await until(lambda: on.counts() == (0, 2, 20))
    on.model.release()
    answers = await asyncio.gather(*tasks)
    assert sorted(on.run) == ["own", "same"]
    for answer in answers:
        assert_same(answer, answers[0])
    assert (await others).rows[1].tobytes() == answers[0].rows[0].tobytes()
    assert all(answer.timings.queue > 0 for answer in answers)
    await asyncio.gather(*plugs)


@scenario()
async def test_a_client_that_hangs_up_takes_nothing_from_those_who_wait_for_the_same_text(on: Setting) -> None:
    plugs = await on.bench.occupy()
    leader = on.start("same")
    await until(lambda: on.bench.scheduler.queued_tokens == 4)
    follower = on.start("same")
    await until(lambda: on.counts() == (0, 1, 1))
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    on.model.release()
    np.testing.assert_array_equal((await follower).rows, [row_of(list(map(ord, "same")))])
    assert on.run == ["same"]
    await asyncio.gather(*plugs)


@scenario()
async def test_what_nobody_waits_for_any_more_is_not_run_and_a_later_request_has_it_computed(on: Setting) -> None:
    plugs = await on.bench.occupy()
    gone = [on.start("same"), on.start("same")]
    await until(lambda: on.counts() == (0, 1, 1))
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    later = on.start("same")
    await until(lambda: on.counts() == (0, 2, 1))
    on.model.release()
    await later
    assert on.run == ["same"]
    assert on.bench.metric("sekisho_dropped_total") == 1
    await asyncio.gather(*plugs)


@scenario()
async def test_an_error_is_never_kept_and_each_who_waited_has_an_answer_or_an_error_of_its_own(on: Setting) -> None:
    """The model fails twice, for the one that computes and for the first of those that try for themselves."""
    failures = iter([ValueError("broken"), ValueError("broken")])
    plugs = await on.bench.occupy()
    on.model.raises = lambda batch: next(failures, None) if len(batch[0]) == 4 else None
    tasks = [on.start("same") for _ in range(3)]
    await until(lambda: on.counts() == (0, 1, 2))
    on.model.release()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], InternalError)
    rows = row_of(list(map(ord, "same")))
    right = [outcome for outcome in outcomes if isinstance(outcome, Inference)]
    assert len(right) >= 1
    assert all(answer.rows.tobytes() == rows.tobytes() for answer in right)
    assert all(isinstance(outcome, Inference | InternalError) for outcome in outcomes)
    assert (await on.ask("same")).rows.tobytes() == rows.tobytes()
    await asyncio.gather(*plugs)


@scenario(max_queue_tokens=20)
async def test_a_request_is_not_refused_for_being_in_another_ones_company(on: Setting) -> None:
    """The one that would compute the text is refused as a whole; the small one that waited for it is not."""
    plugs = await on.bench.occupy()
    ahead = on.start("0123456789")
    await until(lambda: on.bench.scheduler.queued_tokens == 10)
    large, small = on.start("same", "and far too many more characters"), on.start("same")
    with pytest.raises(Overloaded):
        await large
    on.model.release()
    np.testing.assert_array_equal((await small).rows, [row_of(list(map(ord, "same")))])
    await asyncio.gather(ahead, *plugs)


@scenario(max_queue_tokens=20)
async def test_a_full_queue_refuses_what_has_to_be_computed_and_serves_what_is_kept(on: Setting) -> None:
    await on.ask("kept")
    plugs = await on.bench.occupy()
    ahead = on.start("0123456789012345678")
    await until(lambda: on.bench.scheduler.queued_tokens == 19)
    with pytest.raises(Overloaded):
        await on.ask("kept", "new")
    assert (await on.ask("kept")).tokens == 4
    on.model.release()
    await asyncio.gather(ahead, *plugs)


def test_a_request_with_too_many_tokens_is_refused_whatever_of_it_is_kept() -> None:
    @scenario(max_request_tokens=10)
    async def test(on: Setting) -> None:
        engine = on.another(max_request_tokens=10)
        await on.ask("01234", engine=engine)
        await on.ask("56789", engine=engine)
        await on.ask("01234", "56789", engine=engine)
        for texts in (("01234", "56789", "0"), ("01234", "56789", "01234"), ("0", "1", "0", "23456789")):
            with pytest.raises(BodyTooLarge, match=f"{sum(map(len, texts))} tokens"):
                await on.ask(*texts, engine=engine)

    test()


class Picky(FakeModel):
    """Refuses long texts by their place where nothing may be cut, as a real tokenizer does."""

    def encode(self, passages: Sequence[Passage], truncation: Truncation) -> list[Tokens]:
        if truncation == "none":
            for index, passage in enumerate(passages):
                if len(passage.text) > 5:
                    raise InputTooLong(f"{passage.field}[{index}] is too long", param=passage.field)
        return super().encode(passages, truncation)


@scenario()
async def test_an_error_names_the_place_in_the_request_that_was_sent(on: Setting) -> None:
    on.bare._model = Picky()
    await on.ask("a", "b", truncation="none")
    with pytest.raises(InputTooLong, match=r"input\[3\]"):
        await on.ask("a", "c", "b", "much too long", truncation="none")
    with pytest.raises(InputTooLong, match=r"documents\[1\]"):
        await on.engine.infer([Passage("a"), Passage("much too long", field="documents")], "none")
    assert (await on.ask("much too long")).tokens == 13


@scenario(contract=WITH_HEADS)
async def test_requests_for_heads_pass_by(on: Setting) -> None:
    for _ in range(2):
        result = await on.engine.infer([Passage("abc")], "end", ("sparse",))
        assert [list(text.ids) for text in result.texts] == [[97, 98, 99]]
    assert on.counts() == (0, 0, 0)
    await on.ask("abc")
    await on.ask("abc")
    assert on.counts() == (1, 1, 0)
    bare = LocalEngine(FakeModel(), on.bench.scheduler, on.bare._tokenizing, 10)
    with pytest.raises(InvalidRequest, match="gives no colbert"):
        await CachedEngine("x", bare, on.results, Keys(b""), 10).infer([Passage("abc")], "end", ("colbert",))


@scenario()
async def test_a_short_request_does_not_wait_for_a_long_one_and_a_long_one_does(on: Setting) -> None:
    plugs = await on.bench.occupy()
    filler = [f"{number:04} {'long ' * 80}" for number in range(20)]
    bulk = on.start("same", *filler)
    await until(lambda: on.counts() == (0, 21, 0))
    short = on.start("same")
    await until(lambda: on.counts() == (0, 22, 0))
    again = on.start("same", *filler)
    await until(lambda: on.counts() == (0, 22, 21))
    on.model.release()
    answers = await asyncio.gather(bulk, short, again)
    assert_same(answers[0], answers[2])
    assert answers[1].rows.tobytes() == answers[0].rows[:1].tobytes()
    await asyncio.gather(*plugs)


@scenario()
async def test_a_very_long_text_is_computed_each_time(on: Setting) -> None:
    text = "x" * (MOST_CHARS + 1)
    one = await on.ask(text, "a", text)
    assert_same(one, await on.ask(text, "a", text))
    assert on.counts() == (1, 5, 0)


@scenario()
async def test_results_grow_old(on: Setting) -> None:
    await on.ask("a")
    on.days = 0.9
    await on.ask("a")
    assert on.counts() == (1, 1, 0)
    on.days = 1.1
    await on.ask("a")
    assert on.counts() == (1, 2, 0)
    on.days = 2
    await on.ask("a")
    assert on.counts() == (2, 2, 0)


@scenario()
async def test_models_share_nothing_and_servers_of_one_model_everything(on: Setting) -> None:
    await on.ask("a")
    await on.ask("a", engine=on.another())
    assert on.counts() == (1, 1, 0)
    await on.ask("a", engine=on.another(b"another model"))
    assert on.counts() == (1, 2, 0)


@scenario()
async def test_a_kept_row_of_another_width_is_no_answer(on: Setting) -> None:
    key = Keys(b"model").of(Passage("a"), "end")
    on.results.keep(key, Result(np.ones((1, 99), np.float32), None, 1, 0, int(1e9)))
    np.testing.assert_array_equal((await on.ask("a")).rows, [row_of([97])])
    assert on.counts() == (0, 1, 0)


@scenario()
async def test_a_job_of_ten_thousand_texts_lets_others_have_the_event_loop(on: Setting) -> None:
    """While it is looked up, put together and kept: by turns of the loop, not by the clock."""
    texts = [f"{number:06}" for number in range(10_000)]
    for kept in (False, True):
        before = on.counts()
        job = on.start(*texts)
        turns = 0
        while not job.done():
            await asyncio.sleep(0)
            turns += 1
        result = await job
        assert turns > 5
        assert result.rows[1234].tobytes() == row_of(list(map(ord, texts[1234]))).tobytes()
        assert on.counts()[0] - before[0] == (10_000 if kept else 0)
        await until(lambda: not on.engine._flights._by_key)


@scenario()
async def test_what_is_not_the_caches_is_the_engines(on: Setting) -> None:
    assert on.engine.contract is CONTRACT
    assert on.engine.healthy
    assert on.engine.queued_tokens == 0
    assert uncached(on.engine) is on.bare
    assert uncached(on.bare) is on.bare
    await asyncio.to_thread(on.engine.close)
    assert on.model.closed
