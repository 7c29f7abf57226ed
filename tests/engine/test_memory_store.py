"""Results in memory: within the bound, and useful ones last."""

from __future__ import annotations

import sys
import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from sekisho.engine.memory_store import ENTRY_BYTES, MemoryStore
from sekisho.engine.results import Result, write

VALUE = b"v" * 1000


def key(number: int) -> bytes:
    return number.to_bytes(24, "big")


def entry(value: bytes = VALUE) -> int:
    return 24 + len(value) + ENTRY_BYTES


def test_what_is_put_is_there_until_it_is_dropped() -> None:
    store = MemoryStore(1_000_000)
    assert store.get(key(1)) is None
    store.put(key(1), VALUE)
    store.put(key(1), b"other")
    assert (store.get(key(1)), len(store), store.held_bytes) == (b"other", 1, entry(b"other"))
    store.put(key(1), VALUE)
    assert (store.get(key(1)), len(store), store.held_bytes) == (VALUE, 1, entry())
    store.drop(key(1))
    store.drop(key(2))
    assert (store.get(key(1)), len(store), store.held_bytes) == (None, 0, 0)


def test_the_least_recently_used_goes_first() -> None:
    store = MemoryStore(100 * entry())
    for number in range(100):
        store.put(key(number), VALUE)
    before = REGISTRY.get_sample_value("sekisho_cache_evicted_total") or 0
    store.put(key(100), VALUE)
    assert store.get(key(0)) is None
    assert store.get(key(1)) == VALUE
    assert REGISTRY.get_sample_value("sekisho_cache_evicted_total") == before + 1
    assert REGISTRY.get_sample_value("sekisho_cache_bytes") == 100 * entry()


def test_a_job_of_many_texts_drives_out_nothing_that_was_asked_for_twice() -> None:
    store = MemoryStore(100 * entry())
    useful = [key(number) for number in range(60)]
    for each in useful:
        store.put(each, VALUE)
        store.get(each)
    for number in range(1000, 11_000):
        store.put(key(number), VALUE)
    assert all(store.get(each) == VALUE for each in useful)


def test_new_interests_replace_old_ones() -> None:
    """What was asked for twice long ago goes back on trial, so nothing stays for ever."""
    store = MemoryStore(100 * entry())
    for number in range(1000):
        store.put(key(number), VALUE)
        store.get(key(number))
    assert store.get(key(999)) == VALUE
    assert store.get(key(0)) is None


def test_a_large_value_is_not_kept() -> None:
    store = MemoryStore(64_000)
    store.put(key(1), b"x" * 1001)
    assert (len(store), store.takes(b"x" * 1000), store.takes(b"x" * 1001)) == (0, True, False)


@given(st.lists(st.tuples(st.sampled_from("pgd"), st.integers(0, 30), st.integers(0, 60)), max_size=200))
def test_bytes_are_counted_right_and_never_above_the_bound(steps: list[tuple[str, int, int]]) -> None:
    store = MemoryStore(4000)
    for step, number, size in steps:
        if step == "p":
            store.put(key(number), b"x" * size)
        elif step == "g":
            store.get(key(number))
        else:
            store.drop(key(number))
        entries = {**store._trial, **store._kept}
        assert len(entries) == len(store)
        assert store.held_bytes == sum(entry(value) for value in entries.values()) <= 4000


def test_memory_is_what_is_counted() -> None:
    """Counted, and taken as Python's allocator sees it, to a tenth."""
    value = write(Result(np.ones((1, 384), np.float32), np.ones(1, np.float32), 9, 0, 1))
    tracemalloc.start()
    store = MemoryStore(1 << 30)
    before = tracemalloc.get_traced_memory()[0]
    for number in range(20_000):
        store.put(key(number), bytes(bytearray(value)))
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.9 < taken / store.held_bytes < 1.1, f"{taken / 20_000 - len(value) - 24} bytes an entry, {sys.version}"
