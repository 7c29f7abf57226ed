"""The queue of one loaded model, and the lanes that empty it.

A request becomes a ticket, its texts jobs. Each lane is a thread that takes a batch, runs it, writes the rows into
their
tickets and takes the next: between two batches nothing waits for the event loop. A lane never dies with work in hand:
what
raises fails its own ticket only, and a lane that ends is replaced.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sekisho.contract import Rows, Tokens
from sekisho.engine.batching import Limits, bulk_is_next, choose
from sekisho.errors import InternalError, NotReady, OutOfMemory, Overloaded, SekishoError
from sekisho.observability import BATCHES, DROPPED, LANE_FAILURES, PADDED_TOKENS, QUEUE_TOKENS, REFUSED, TOKENS, logger
from sekisho.runtime.model import Model

log = logger(__name__)


@dataclass(slots=True)
class Result:
    """outputs: as the model gives them, a row a text; queue_seconds, run_seconds: of the ticket's slowest text."""

    outputs: list[Rows]
    queue_seconds: float
    run_seconds: float


class Ticket:
    """A request in the queue: where its rows are gathered until the last is there."""

    __slots__ = ("_future", "_loop", "_outputs", "bulk", "gone", "left", "queued", "run_seconds", "started", "texts")

    def __init__(self, texts: Sequence[Tokens], bulk: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Result] = self._loop.create_future()
        self._outputs: list[Rows] | None = None
        self.texts = texts
        self.bulk = bulk
        self.gone = False
        self.left = len(texts)
        self.queued = time.perf_counter()
        self.started = 0.0
        self.run_seconds = 0.0

    def place(self, index: int, row: int, outputs: Sequence[Rows]) -> None:
        """Keep row `row` of a batch's outputs as the answer to text `index`."""
        if self._outputs is None:
            self._outputs = [np.empty((len(self.texts), output.shape[1]), np.float32) for output in outputs]
        for kept, output in zip(self._outputs, outputs, strict=True):
            kept[index] = output[row]

    def finish(self) -> None:
        """On the event loop: hand the rows to the waiting request."""
        if not self._future.done():
            queue_seconds = max(0.0, self.started - self.queued)
            self._future.set_result(Result(self._outputs or [], queue_seconds, self.run_seconds))

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


class Scheduler:
    """Runs the jobs of one model on its lanes, in batches that `batching` chooses."""

    def __init__(self, name: str, model: Model, limits: Limits, max_queue_tokens: int) -> None:
        self._name = name
        self._model = model
        self._limits = limits
        self._max_queue_tokens = max_queue_tokens
        self._changed = threading.Condition()
        self._interactive: list[Job] = []
        self._bulk: list[Job] = []
        self._queued_tokens = 0
        self._interactive_run = 0
        self._closing = False
        self._lanes = [self._start_lane(lane) for lane in range(model.lanes)]

    async def run(self, texts: Sequence[Tokens]) -> Result:
        """Queue a request and wait for its rows. Raises Overloaded before any work where the queue is full."""
        if not texts:
            return Result([], 0.0, 0.0)
        tokens = sum(map(len, texts))
        ticket = Ticket(texts, bulk=tokens > self._limits.batch_tokens)
        self._enqueue(ticket, tokens)
        return await ticket.wait()

    def close(self) -> None:
        """Stop the lanes after the batch each is running; whoever still waits is told."""
        with self._changed:
            self._closing = True
            waiting = self._interactive + self._bulk
            self._interactive, self._bulk = [], []
            self._queued_tokens = 0
            self._changed.notify_all()
        for ticket in {id(job.ticket): job.ticket for job in waiting}.values():
            ticket.fail(NotReady("The model is being unloaded: send the request again"))
        for lane in self._lanes:
            lane.join()
        QUEUE_TOKENS.labels(self._name).set(0)

    @property
    def queued_tokens(self) -> int:
        return self._queued_tokens

    @property
    def healthy(self) -> bool:
        """Whether every lane is there to take work."""
        return self._closing or all(lane.is_alive() for lane in self._lanes)

    def _enqueue(self, ticket: Ticket, tokens: int) -> None:
        jobs = [Job(ticket, index, text) for index, text in enumerate(ticket.texts)]
        with self._changed:
            if self._closing:
                raise NotReady("The model is being unloaded: send the request again")
            # A request that alone exceeds the limit is let into an empty queue: whether it may be that long is not
            # our question.
            if self._queued_tokens and self._queued_tokens + tokens > self._max_queue_tokens:
                REFUSED.labels(self._name).inc()
                raise Overloaded(
                    f"{self._queued_tokens:,} tokens wait for this model and it takes {self._max_queue_tokens:,}: "
                    "send the request again a little later"
                )
            (self._bulk if ticket.bulk else self._interactive).extend(jobs)
            self._queued_tokens += tokens
            QUEUE_TOKENS.labels(self._name).set(self._queued_tokens)
            self._changed.notify(len(jobs))

    def _start_lane(self, lane: int) -> threading.Thread:
        thread = threading.Thread(target=self._lane, args=(lane,), name=f"sekisho-{self._name}-{lane}", daemon=True)
        thread.start()
        return thread

    def _lane(self, lane: int) -> None:
        """A lane's whole life. It ends when the scheduler closes; ended by anything else, another takes its place."""
        batch: list[Job] = []
        try:
            while batch := self._take():
                self._run(lane, batch)
        except BaseException as error:
            LANE_FAILURES.labels(self._name).inc()
            log.exception("lane_ended", model=self._name, lane=lane)
            for job in batch:
                job.ticket.fail(InternalError(f"The model's worker ended: {type(error).__name__}"))
            if not self._closing:
                self._lanes[lane] = self._start_lane(lane)

    def _take(self) -> list[Job]:
        """The next batch, waiting for one; empty when the scheduler closes."""
        with self._changed:
            while not self._closing:
                self._drop_departed()
                if self._interactive or self._bulk:
                    return self._pick()
                self._changed.wait()
        return []

    def _drop_departed(self) -> None:
        """Only the jobs that could be chosen now are looked at; the rest will be when their turn comes."""
        for queue in (self._interactive, self._bulk):
            while True:
                window = queue[: self._limits.window]
                staying = [job for job in window if not job.ticket.gone]
                if len(staying) == len(window):
                    break
                queue[: len(window)] = staying
                self._queued_tokens -= sum(len(job.tokens) for job in window if job.ticket.gone)
                DROPPED.labels(self._name).inc(len(window) - len(staying))
                # Where nothing is left, no batch will say so.
                QUEUE_TOKENS.labels(self._name).set(self._queued_tokens)

    def _pick(self) -> list[Job]:
        bulk = bulk_is_next(len(self._interactive), len(self._bulk), self._interactive_run, self._limits)
        queue = self._bulk if bulk else self._interactive
        self._interactive_run = 0 if bulk else self._interactive_run + 1
        window = queue[: self._limits.window]
        chosen = choose([len(job.tokens) for job in window], self._limits)
        batch = [window[index] for index in chosen]
        taken = set(chosen)
        queue[: len(window)] = [job for index, job in enumerate(window) if index not in taken]
        self._queued_tokens -= sum(len(job.tokens) for job in batch)
        QUEUE_TOKENS.labels(self._name).set(self._queued_tokens)
        return batch

    def _run(self, lane: int, batch: list[Job]) -> None:
        began = time.perf_counter()
        try:
            outputs = self._model.run(lane, [job.tokens for job in batch])
        except Exception as error:
            self._recover(lane, batch, error)
            return
        self._count(batch)
        self._deliver(batch, outputs, began)

    def _recover(self, lane: int, batch: list[Job], error: Exception) -> None:
        """One text must not take its neighbours down: a batch of several that fails is run again one by one."""
        LANE_FAILURES.labels(self._name).inc()
        log.error("batch_failed", model=self._name, rows=len(batch), error=f"{type(error).__name__}: {error}")
        if len(batch) > 1:
            for job in batch:
                self._run(lane, [job])
        else:
            batch[0].ticket.fail(_as_answer(error))

    def _deliver(self, batch: list[Job], outputs: list[Rows], began: float) -> None:
        seconds = time.perf_counter() - began
        finished: list[Ticket] = []
        with self._changed:
            for row, job in enumerate(batch):
                ticket = job.ticket
                ticket.place(job.index, row, outputs)
                ticket.started = max(ticket.started, began)
                ticket.run_seconds = max(ticket.run_seconds, seconds)
                ticket.left -= 1
                if ticket.left == 0 and not ticket.gone:
                    finished.append(ticket)
        if finished:
            finished[0].call_soon(finished)

    def _count(self, batch: list[Job]) -> None:
        lengths = [len(job.tokens) for job in batch]
        BATCHES.labels(self._name).inc()
        TOKENS.labels(self._name).inc(sum(lengths))
        PADDED_TOKENS.labels(self._name).inc(max(lengths) * len(lengths))


def _finish_all(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        ticket.finish()


def _as_answer(error: Exception) -> SekishoError:
    if isinstance(error, SekishoError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("The machine ran out of memory for this text: send it again later, or shorten it")
    return InternalError("The model failed on this text; the server's log has the reason under this request id")
