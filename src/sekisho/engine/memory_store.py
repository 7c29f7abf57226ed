"""Results in this process's memory, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict

from sekisho.observability import CACHE_BYTES, CACHE_EVICTED

#: What an entry costs beside key and value: two bytes objects' heads, a place in a dict and in its order.
ENTRY_BYTES = 256
#: A value above this share of the budget is not kept: one request's must not drive out everybody's.
_LARGEST_SHARE = 64
#: The share that results asked for twice may fill.
_KEPT_SHARE = 0.8


class MemoryStore:
    """Key → value, the least recently used dropped first, and those that were asked for but once before all others.

    A segmented LRU (Karedla et al., 1994): what comes in is on trial; the first hit moves it to the kept ones. So a job
    of a million texts, each seen once, drives out what is on trial and no more. No cache library has the two segments
    under one bound, and `OrderedDict` is each of them whole.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._trial: OrderedDict[bytes, bytes] = OrderedDict()
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._trial_bytes = 0
        self._kept_bytes = 0

    def __len__(self) -> int:
        return len(self._trial) + len(self._kept)

    @property
    def held_bytes(self) -> int:
        """As counted: keys, values and `ENTRY_BYTES` each."""
        return self._trial_bytes + self._kept_bytes

    def takes(self, value: bytes) -> bool:
        """Whether a value is small enough to be kept."""
        return len(value) <= self._most // _LARGEST_SHARE

    def get(self, key: bytes) -> bytes | None:
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
            return value
        value = self._trial.pop(key, None)
        if value is not None:
            self._trial_bytes -= _size(key, value)
            self._keep(key, value)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        if not self.takes(value):
            return
        kept = key in self._kept
        self.drop(key)
        if kept:
            self._keep(key, value)
        else:
            self._trial[key] = value
            self._trial_bytes += _size(key, value)
        while self.held_bytes > self._most:
            self._evict()
        CACHE_BYTES.set(self.held_bytes)

    def drop(self, key: bytes) -> None:
        """Forget one that is no answer any more."""
        if (value := self._trial.pop(key, None)) is not None:
            self._trial_bytes -= _size(key, value)
        elif (value := self._kept.pop(key, None)) is not None:
            self._kept_bytes -= _size(key, value)

    def _keep(self, key: bytes, value: bytes) -> None:
        """Those that were used longest ago go back on trial where the kept ones are too many."""
        self._kept[key] = value
        self._kept_bytes += _size(key, value)
        while self._kept_bytes > _KEPT_SHARE * self._most:
            old, its = self._kept.popitem(last=False)
            self._kept_bytes -= _size(old, its)
            self._trial[old] = its
            self._trial_bytes += _size(old, its)

    def _evict(self) -> None:
        """Trial ones go first; without any, the kept ones alone are within the bound."""
        key, value = self._trial.popitem(last=False)
        self._trial_bytes -= _size(key, value)
        CACHE_EVICTED.inc()


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_BYTES
