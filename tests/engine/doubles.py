"""A model whose rows can be told from its input alone, and which waits, fails and dies on command."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from sekisho.contract import Contract, Passage, Rows, Tokens, Truncation
from sekisho.engine.batching import Limits
from sekisho.engine.cores import Cores
from sekisho.engine.scheduler import Scheduler
from sekisho.engine.wide import Wide
from sekisho.runtime.model import Model
from sekisho.runtime.spelling import Piece

WIDTH = 6

CONTRACT = Contract(
    kind="embedding",
    family="fake",
    inputs=("input_ids", "attention_mask"),
    outputs=("embedding", "norm"),
    width=WIDTH,
    max_tokens=512,
    pad_id=0,
    vocabulary=1 << 20,
    pooling="mean",
    normalized=True,
    parameters=0,
)

#: Of a model that also gives each token a weight and a vector.
WITH_HEADS = replace(CONTRACT, outputs=("embedding", "norm", "sparse", "colbert"))
VECTOR = 2

_names = itertools.count()


def row_of(ids: Sequence[int]) -> NDArray[np.float32]:
    """The row that `FakeModel` gives for these ids, and for no others."""
    data = np.asarray(ids, np.int32).tobytes()
    return np.array([zlib.crc32(data, seed) for seed in range(WIDTH)], np.float32)


def weights_of(ids: Sequence[int]) -> NDArray[np.float32]:
    """The weight that `FakeModel` gives to each token."""
    return np.array(ids, np.float32) + 1


def vectors_of(ids: Sequence[int]) -> NDArray[np.float32]:
    """The vector that `FakeModel` gives to each token."""
    return np.stack([weights_of(ids) * (column + 2) for column in range(VECTOR)], axis=-1)


class FakeModel:
    """Records its batches and what was asked of each. `raises`: an error to raise for a batch, or None."""

    def __init__(self, lanes: int = 1, seconds: float = 0.0, contract: Contract = CONTRACT) -> None:
        self.contract = contract
        self.lanes = lanes
        self.seconds = seconds
        self.batches: list[list[Tokens]] = []
        self.asked: list[tuple[str, ...]] = []
        self.raises: Callable[[Sequence[Tokens]], BaseException | None] = lambda _batch: None
        self.closed = False
        self.running = 0
        self.most_running = 0
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()

    def encode(self, passages: Sequence[Passage], truncation: Truncation) -> list[Tokens]:
        """A token a character, cut at the contract's length."""
        limit = self.contract.max_tokens
        return [Tokens([ord(char) for char in passage.text[:limit]], len(passage.text) > limit) for passage in passages]

    def spell(self, passage: Passage, *, special: bool) -> list[Piece]:
        return [Piece(ord(char), char) for char in passage.text]

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        return "".join(map(chr, ids))

    def run(self, lane: int, batch: Sequence[Tokens], heads: Sequence[str] = ()) -> list[Rows]:
        with self._lock:
            self.batches.append(list(batch))
            self.asked.append(tuple(heads))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            self._open.wait(30)
            if self.seconds:
                time.sleep(self.seconds)
            error = self.raises(batch)
            if error is not None:
                raise error
            return [
                np.stack([row_of(tokens.ids) for tokens in batch]),
                np.array([[len(tokens)] for tokens in batch], np.float32),
                *(_padded([_HEADS[name](tokens.ids) for tokens in batch]) for name in heads),
            ]
        finally:
            with self._lock:
                self.running -= 1

    def close(self) -> None:
        self.closed = True

    def hold(self) -> None:
        """From now on every batch waits for `release`."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    @property
    def texts_run(self) -> set[tuple[int, ...]]:
        return {tuple(tokens.ids) for batch in self.batches for tokens in batch}


_HEADS: dict[str, Callable[[Sequence[int]], Rows]] = {"sparse": weights_of, "colbert": vectors_of}


def _padded(parts: Sequence[Rows]) -> Rows:
    """One array of parts of several lengths, with -1 where a part has ended."""
    made = np.full((len(parts), max(map(len, parts)), *parts[0].shape[1:]), -1, np.float32)
    for row, part in zip(made, parts, strict=True):
        row[: len(part)] = part
    return made


class Bench:
    """A scheduler over a fake model, under a name of its own so that its metrics are its own."""

    def __init__(
        self,
        lanes: int = 1,
        seconds: float = 0.0,
        limits: Limits | None = None,
        max_queue_tokens: int = 10_000_000,
        contract: Contract = CONTRACT,
        cores: Cores | None = None,
        wide: Callable[[], Model] | None = None,
    ) -> None:
        self.name = f"bench-{next(_names)}"
        self.model = FakeModel(lanes, seconds, contract)
        over = None if wide is None else Wide(self.name, wide, threads=2)
        self.scheduler = Scheduler(self.name, self.model, limits or Limits(), max_queue_tokens, cores, wide=over)

    def metric(self, name: str) -> float:
        return REGISTRY.get_sample_value(name, {"model": self.name}) or 0.0

    async def occupy(self) -> list[asyncio.Task[object]]:
        """Hold the model and put a batch on each lane, so that what is queued next stays queued."""
        self.model.hold()
        plugs: list[asyncio.Task[object]] = []
        for lane in range(self.model.lanes):
            plugs.append(asyncio.create_task(self.submit(Tokens([1_000_000 + lane]))))
            await until(lambda lane=lane: self.model.running == lane + 1)  # type: ignore[misc]  # a default in a lambda
        self.model.batches.clear()
        return plugs

    async def submit(self, *texts: Tokens, heads: Sequence[str] = ()) -> object:
        return await self.scheduler.run(texts, heads)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until the condition holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.001)


def text(number: int, length: int) -> Tokens:
    """`length` tokens (3 at least) that no other number has."""
    return Tokens([number, length, *[7] * max(1, length - 2)])
