"""A request in the queue, and its texts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sekisho.contract import Rows, Tokens

_NOTHING = np.empty(0, np.float32)


@dataclass(slots=True)
class Result:
    """outputs: as the model gives them, a row a text; queue_seconds, run_seconds: of the ticket's slowest text.

    heads: of those asked for, an array a text, each of its text's length.
    """

    outputs: list[Rows]
    queue_seconds: float
    run_seconds: float
    heads: dict[str, list[Rows]] = field(default_factory=dict)


class Ticket:
    """A request in the queue: where its rows are gathered until the last is there."""

    __slots__ = (
        "_future", "_loop", "_outputs", "bulk", "gone", "heads", "left", "queued", "run_seconds", "started", "texts",
    )  # fmt: skip

    def __init__(self, texts: Sequence[Tokens], bulk: bool, heads: Sequence[str] = ()) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Result] = self._loop.create_future()
        self._outputs: list[Rows] | None = None
        self.texts = texts
        self.heads: dict[str, list[Rows]] = {name: [_NOTHING] * len(texts) for name in heads}
        self.bulk = bulk
        self.gone = False
        self.left = len(texts)
        self.queued = time.perf_counter()
        self.started = 0.0
        self.run_seconds = 0.0

    def place(self, indices: list[int], rows: list[int], outputs: Sequence[Rows]) -> None:
        """Keep these rows of a batch's outputs as the answers to texts `indices`."""
        if len(self.texts) == 1:
            self._outputs = [output[rows[0] : rows[0] + 1] for output in outputs]
            return
        if self._outputs is None:
            self._outputs = [np.empty((len(self.texts), output.shape[1]), np.float32) for output in outputs]
        for kept, output in zip(self._outputs, outputs, strict=True):
            kept[indices] = output[rows]

    def place_heads(self, index: int, row: int, outputs: Mapping[str, Rows]) -> None:
        """Keep what text `index` asked for beside its rows, without the padding of its batch."""
        for name, kept in self.heads.items():
            kept[index] = outputs[name][row, : len(self.texts[index])].copy()

    def finish(self) -> None:
        """On the event loop: hand the rows to the waiting request."""
        if not self._future.done():
            queue_seconds = max(0.0, self.started - self.queued)
            self._future.set_result(Result(self._outputs or [], queue_seconds, self.run_seconds, self.heads))

    def fail(self, error: BaseException) -> None:
        """From any thread: the request gets `error`, and what is left of it is not run."""
        self.gone = True
        self._loop.call_soon_threadsafe(self._set_error, error)

    def _set_error(self, error: BaseException) -> None:
        if not self._future.done():
            self._future.set_exception(error)

    def call_soon(self, tickets: list[Ticket]) -> None:
        self._loop.call_soon_threadsafe(_finish_all, tickets)

    async def wait(self) -> Result:
        """The rows. A waiter that is cancelled takes its texts out of the queue."""
        try:
            return await self._future
        except asyncio.CancelledError:
            self.gone = True
            raise


@dataclass(slots=True)
class Job:
    """One text of a ticket."""

    ticket: Ticket
    index: int
    tokens: Tokens


def _finish_all(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        ticket.finish()
