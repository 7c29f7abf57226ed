"""The queue of one loaded model, and the lanes that empty it.

A request becomes a ticket, its texts jobs. Each lane is a thread that takes a batch, runs it, writes the rows into
their tickets and takes the next: between two batches nothing waits for the event loop. A lane never dies with work in
hand: what raises fails its own ticket only, and a lane that ends is replaced.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from sekisho.arrays import tokens_run
from sekisho.contract import Rows, Tokens
from sekisho.engine.batching import Limits, budget, bulk_is_next, choose, reach
from sekisho.engine.cores import Cores, Work
from sekisho.engine.ticket import Job, Result, Ticket
from sekisho.engine.wide import Wide
from sekisho.errors import InternalError, NotReady, OutOfMemory, Overloaded, SekishoError
from sekisho.observability import (
    ATTENTION_PLACES,
    BATCH_ROWS,
    BATCHES,
    DROPPED,
    LANE_FAILURES,
    PADDED_TOKENS,
    QUEUE_TOKENS,
    REFUSED,
    TOKENS,
    WIDE_BATCHES,
    logger,
)
from sekisho.runtime.model import Model

log = logger(__name__)

#: What the time of cores given to interactive requests counts beside that given to bulk, while both wait.
_INTERACTIVE_WEIGHT = 3.0


class Scheduler:
    """Runs the jobs of one model on its lanes, in batches that `batching` chooses."""

    def __init__(
        self,
        name: str,
        model: Model,
        limits: Limits,
        max_queue_tokens: int,
        cores: Cores | None = None,
        threads: int = 1,
        wide: Wide | None = None,
    ) -> None:
        """cores: shared by the models of this process; None: there is no other model.

        threads: cores that a lane keeps busy; 0 where its device computes elsewhere.
        wide: where a batch is run that has more cores for itself; closed with the scheduler.
        """
        self._name = name
        self._model = model
        self._limits = limits
        self._max_queue_tokens = max_queue_tokens
        self._cores = Cores(model.lanes * threads) if cores is None else cores
        self._threads = threads
        self._wide = wide
        self._heads = model.contract.heads
        self._changed = threading.Condition()
        self._interactive: list[Job] = []
        self._bulk: list[Job] = []
        self._queued_tokens = 0
        self._interactive_run = 0
        self._interactive_work = Work(_INTERACTIVE_WEIGHT)
        self._bulk_work = Work()
        self._idle = 0
        self._closing = False
        self._metrics = _Metrics(name)
        self._lanes = [self._start_lane(lane) for lane in range(model.lanes)]

    async def run(self, texts: Sequence[Tokens], heads: Sequence[str] = ()) -> Result:
        """Queue a request and wait for its rows, and for `heads`, of those that the model has.

        Raises Overloaded before any work where the queue is full.
        """
        if not texts:
            return Result([], 0.0, 0.0)
        tokens = sum(map(len, texts))
        ticket = Ticket(texts, tokens > self._limits.batch_tokens, heads)
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
        if self._wide is not None:
            self._wide.close()
        self._metrics.queue_tokens.set(0)

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
                self._metrics.refused.inc()
                raise Overloaded(
                    f"{self._queued_tokens:,} tokens wait for this model and it takes {self._max_queue_tokens:,}: "
                    "send the request again a little later"
                )
            if ticket.bulk:
                self._bulk.extend(jobs)
            else:
                self._interactive.extend(jobs)
                self._cores.interactive_came()
            self._queued_tokens += tokens
            self._metrics.queue_tokens.set(self._queued_tokens)
            self._changed.notify(len(jobs))

    def _start_lane(self, lane: int) -> threading.Thread:
        thread = threading.Thread(target=self._lane, args=(lane,), name=f"sekisho-{self._name}-{lane}", daemon=True)
        thread.start()
        return thread

    def _lane(self, lane: int) -> None:
        """A lane's whole life. It ends when the scheduler closes; ended by anything else, another takes its place."""
        batch: list[Job] = []
        try:
            while self._await_work():
                with self._cores.lent(self._threads, self._wanted) as loan:
                    while batch := self._take():
                        loan.spend(self._work_of(batch))
                        if not self._run_wide(lane, batch):
                            self._run(lane, batch, self._model, lane)
                        if not (self._has_work and loan.keep()):
                            break
        except BaseException as error:
            self._metrics.lane_failures.inc()
            log.exception("lane_ended", model=self._name, lane=lane)
            for job in batch:
                job.ticket.fail(InternalError(f"The model's worker ended: {type(error).__name__}"))
            if not self._closing:
                self._lanes[lane] = self._start_lane(lane)

    def _await_work(self) -> bool:
        """Wait until there is something to run; False when the scheduler closes."""
        with self._changed:
            while not self._closing:
                self._drop_departed()
                if self._has_work:
                    return True
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
        return False

    @property
    def _has_work(self) -> bool:
        return bool(self._interactive or self._bulk)

    def _wanted(self) -> Work:
        return self._interactive_work if self._interactive else self._bulk_work

    def _work_of(self, batch: list[Job]) -> Work:
        return self._bulk_work if batch[0].ticket.bulk else self._interactive_work

    def _take(self) -> list[Job]:
        """The next batch; empty where another lane has taken the rest."""
        with self._changed:
            self._drop_departed()
            return self._pick() if self._has_work else []

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
                self._metrics.dropped.inc(len(window) - len(staying))
                # Where nothing is left, no batch will say so.
                self._metrics.queue_tokens.set(self._queued_tokens)

    def _pick(self) -> list[Job]:
        bulk = bulk_is_next(len(self._interactive), len(self._bulk), self._interactive_run, self._limits)
        queue = self._bulk if bulk else self._interactive
        self._interactive_run = 0 if bulk else self._interactive_run + 1
        window = queue[: self._limits.window]
        lengths = [len(job.tokens) for job in window]
        yielding = bulk and self._cores.interactive_about
        most = budget(sum(lengths), self._idle, self._limits, yielding=yielding)
        older = reach([job.ticket for job in window], self._limits, bulk=bulk)
        chosen = choose(lengths[:older], self._limits, most)
        batch = [window[index] for index in chosen]
        taken = set(chosen)
        queue[: len(window)] = [job for index, job in enumerate(window) if index not in taken]
        self._queued_tokens -= sum(lengths[index] for index in chosen)
        self._metrics.queue_tokens.set(self._queued_tokens)
        return batch

    def _run_wide(self, lane: int, batch: list[Job]) -> bool:
        """Run a batch on several cores where it is all there is and they are free; whether it was."""
        wide = self._wide
        if wide is None or not wide.ready or self._has_work:
            return False
        more = wide.threads - self._threads
        work = self._work_of(batch)
        if not self._cores.borrow_now(more, work):
            return False
        try:
            taken = wide.take()
            if taken is None:
                return False
            self._metrics.wide_batches.inc()
            try:
                self._run(lane, batch, *taken)
            finally:
                wide.leave(taken)
        finally:
            self._cores.give_back(more, work)
        return True

    def _run(self, lane: int, batch: list[Job], model: Model, place: int) -> None:
        """place: the lane of `model`, which is the lane's own or the wide one."""
        began = time.perf_counter()
        heads = self._asked(batch) if self._heads else ()
        try:
            outputs = model.run(place, [job.tokens for job in batch], heads)
        except Exception as error:
            self._recover(lane, batch, error, again=len(batch) > 1 or model is not self._model)
            return
        self._count(batch)
        self._deliver(batch, outputs, heads, began)

    def _asked(self, batch: list[Job]) -> tuple[str, ...]:
        """The heads that at least one text of the batch asked for."""
        asked = {name for job in batch for name in job.ticket.heads}
        return tuple(name for name in self._heads if name in asked)

    def _recover(self, lane: int, batch: list[Job], error: Exception, *, again: bool) -> None:
        """One text must not take its neighbours down: a batch of several that fails is run again one by one."""
        self._metrics.lane_failures.inc()
        log.error("batch_failed", model=self._name, rows=len(batch), error=f"{type(error).__name__}: {error}")
        if again:
            for job in batch:
                self._run(lane, [job], self._model, lane)
        else:
            batch[0].ticket.fail(_as_answer(error))

    def _deliver(self, batch: list[Job], outputs: list[Rows], heads: Sequence[str], began: float) -> None:
        seconds = time.perf_counter() - began
        finished: list[Ticket] = []
        if heads:
            outputs, last = outputs[: -len(heads)], outputs[-len(heads) :]
            for row, job in enumerate(batch):
                job.ticket.place_heads(job.index, row, dict(zip(heads, last, strict=True)))
        places: dict[Ticket, tuple[list[int], list[int]]] = {}
        for row, job in enumerate(batch):
            indices, rows = places.setdefault(job.ticket, ([], []))
            indices.append(job.index)
            rows.append(row)
        with self._changed:
            for ticket, (indices, rows) in places.items():
                ticket.place(indices, rows, outputs)
                ticket.started = max(ticket.started, began)
                ticket.run_seconds = max(ticket.run_seconds, seconds)
                ticket.left -= len(rows)
                if ticket.left == 0 and not ticket.gone:
                    finished.append(ticket)
        if finished:
            finished[0].call_soon(finished)

    def _count(self, batch: list[Job]) -> None:
        lengths = [len(job.tokens) for job in batch]
        self._metrics.batches.inc()
        self._metrics.batch_rows.observe(len(lengths))
        self._metrics.tokens.inc(sum(lengths))
        self._metrics.padded_tokens.inc(tokens_run(lengths, packed=self._model.contract.packed))
        self._metrics.attention_places.inc(max(lengths) * len(lengths))


class _Metrics:
    """Those of one model, looked up once."""

    def __init__(self, name: str) -> None:
        self.attention_places = ATTENTION_PLACES.labels(name)
        self.batch_rows = BATCH_ROWS.labels(name)
        self.batches = BATCHES.labels(name)
        self.dropped = DROPPED.labels(name)
        self.lane_failures = LANE_FAILURES.labels(name)
        self.padded_tokens = PADDED_TOKENS.labels(name)
        self.queue_tokens = QUEUE_TOKENS.labels(name)
        self.refused = REFUSED.labels(name)
        self.tokens = TOKENS.labels(name)
        self.wide_batches = WIDE_BATCHES.labels(name)


def _as_answer(error: Exception) -> SekishoError:
    if isinstance(error, SekishoError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("The machine ran out of memory for this text: send it again later, or shorten it")
    return InternalError("The model failed on this text; the server's log has the reason under this request id")
