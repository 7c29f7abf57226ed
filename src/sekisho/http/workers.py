"""Several server processes behind one address: started, watched, started again, ended together.

uvicorn's own `Multiprocess` creates its processes, always of its own `Server`, inside the methods that would have to be
others here: a worker has cores of its own, restarts are counted, one that dies again and again ends the server with an
error (there it is started for ever), a drain has an end, and Ctrl-C prints no trace while workers start.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

import structlog
from prometheus_client.multiprocess import mark_process_dead

from sekisho.assemble import assemble
from sekisho.http.server import CannotServe, serve
from sekisho.http.shares import Share
from sekisho.observability import WORKER_RESTARTS, configure_logging, logger
from sekisho.settings import Settings

log = logger(__name__)

#: A fork would copy locks that other threads hold, and libraries that have counted the parent's cores.
_spawn = multiprocessing.get_context("spawn")

#: uvicorn looks after its own signals as often.
_LOOK_SECONDS = 0.1
#: A worker that ends sooner after its start has not been of use, and its successor may fare no better.
_SETTLED_SECONDS = 30
_MOST_EARLY_ENDS = 5
#: What a worker may take, after its running requests, to unload its models.
_UNLOAD_SECONDS = 10


@dataclass
class _Worker:
    """number: from 0. hold: the worker ends when this end of the pipe closes, be it by our own death.

    began: by the monotonic clock. early_ends: how often in a row this worker ended before it had settled.
    """

    number: int
    process: SpawnProcess
    hold: Connection
    began: float
    early_ends: int = 0


def supervise(settings: Settings, shares: Sequence[Share], listening: Sequence[socket.socket]) -> None:
    """Serve with a worker for each share and socket until SIGTERM or SIGINT; running requests are finished first.

    The sockets stay open here as well, so that connections made while a worker is started again wait for it.

    Raises CannotServe where a worker ends again and again.
    """
    with _asked_to_end() as asked, tempfile.TemporaryDirectory(prefix="sekisho-metrics-") as metrics:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics  # read by prometheus_client in each worker
        workers = _Workers(settings, shares, listening)
        try:
            workers.start()
            while not asked:
                workers.restart_ended()
        finally:
            for each in listening:
                each.close()
            workers.end(asked)


class _Workers:
    """The running ones. Everything here is on the main thread."""

    def __init__(self, settings: Settings, shares: Sequence[Share], listening: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._shares = shares
        self._listening = listening
        self._running: list[_Worker] = []

    def start(self) -> None:
        for number in range(len(self._shares)):
            self._running.append(self._started(number, again=False))

    def restart_ended(self) -> None:
        """Wait a moment for a worker to end, and start another in its place. Raises CannotServe."""
        wait([each.process.sentinel for each in self._running], _LOOK_SECONDS)
        for worker in [each for each in self._running if each.process.exitcode is not None]:
            self._bury(worker)
            early_ends = worker.early_ends + 1 if time.monotonic() - worker.began < _SETTLED_SECONDS else 0
            how = _how(worker.process.exitcode)
            log.error("worker_ended", worker=worker.number, pid=worker.process.pid, how=how, early_ends=early_ends)
            if early_ends >= _MOST_EARLY_ENDS:
                raise CannotServe(
                    f"worker {worker.number} ended {early_ends} times in a row within {_SETTLED_SECONDS} s of its "
                    f"start, at last by {how}: the log above has the reason if it had one to give; a kill from outside "
                    "is often for want of memory, of which fewer workers need less"
                )
            successor = self._started(worker.number, again=True)
            successor.early_ends = early_ends
            self._running.append(successor)

    def end(self, asked: Sequence[int]) -> None:
        """Let all finish what they do, within the time for it; a second SIGINT ends them at once."""
        for worker in self._running:
            worker.hold.close()
        deadline = time.monotonic() + self._settings.drain_seconds + _UNLOAD_SECONDS
        while self._running:
            wait([each.process.sentinel for each in self._running], _LOOK_SECONDS)
            if time.monotonic() > deadline or signal.SIGINT in asked[1:]:
                self._kill()
            for worker in [each for each in self._running if each.process.exitcode is not None]:
                self._bury(worker)

    def _kill(self) -> None:
        for worker in self._running:
            log.error("worker_killed", worker=worker.number, pid=worker.process.pid)
            worker.process.kill()
            worker.process.join()

    def _bury(self, worker: _Worker) -> None:
        self._running.remove(worker)
        worker.hold.close()
        mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]

    def _started(self, number: int, *, again: bool) -> _Worker:
        share, theirs = self._shares[number], self._settings
        if theirs.threads is None and share.threads is not None:
            theirs = theirs.model_copy(update={"threads": share.threads})
        held, hold = _spawn.Pipe(duplex=False)
        process = _spawn.Process(
            target=_work, args=(number, theirs, self._listening[number], held, again), name=f"sekisho-{number}"
        )
        with _inherited(share.cores):
            process.start()
        held.close()
        return _Worker(number, process, hold, time.monotonic())


@contextmanager
def _asked_to_end() -> Iterator[list[int]]:
    """The signals to end that have come so far."""
    asked: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _inherited(cores: frozenset[int] | None) -> Iterator[None]:
    """What a process started inside has from its first instruction: its cores, before any library counts or starts
    threads for them; and no SIGINT, which a terminal sends to all of us, until it can take it.
    """
    ours = os.sched_getaffinity(0) if cores is not None else None
    if cores is not None:
        os.sched_setaffinity(0, cores)
    if sys.platform != "win32":
        resource_tracker.ensure_running()  # the first start would do so, and lift what is held back here
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if ours is not None:
            os.sched_setaffinity(0, ours)
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _work(number: int, settings: Settings, listening: socket.socket, held: Connection, again: bool) -> None:
    """A worker's whole life, in its own process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until uvicorn takes it, and after
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    configure_logging(settings)
    structlog.contextvars.bind_contextvars(worker=number)
    threading.Thread(target=_end_with, args=(held,), daemon=True, name="sekisho-hold").start()
    if again:
        WORKER_RESTARTS.inc()
    try:
        serve(assemble(settings), listening)
    except Exception:
        log.critical("worker_failed", exc_info=True)
        sys.exit(1)


def _end_with(held: Connection) -> None:
    """Asks this process to end once the other end of the pipe is closed."""
    try:
        held.recv_bytes()
    except (EOFError, OSError):  # Windows says it the second way
        signal.raise_signal(signal.SIGTERM)


def _how(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    return signal.Signals(-exitcode).name
