"""A load generator that costs as little as it can, run as a process of its own: raw HTTP/1.1 on asyncio's transports.

`python -m sekisho.bench.client` reads a plan from stdin and prints a report, both JSON. What can be done before the
clock starts is: requests are encoded and connections open. Answers are taken apart when it has stopped.
"""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import cycle
from typing import cast

from sekisho.bench.answers import kept_vectors, stages
from sekisho.bench.open_files import allow_many
from sekisho.bench.plan import Endpoint, Load, LoadFailed, Plan

#: Connections that are opened at once, fewer than any server's backlog.
_WAVE = 64
_END = b"\r\n\r\n"


class Generator:
    """One load: who sends what next, and what was answered.

    bodies: by the number of the request, of those that hold a text to keep. heads: of every answer, where asked for.
    """

    def __init__(self, plan: Plan) -> None:
        size = plan.per_request
        groups = [plan.texts[at : at + size] for at in range(0, len(plan.texts), size)]
        self.wire = [_request(plan.endpoint, group, single=size == 1) for group in groups]
        self._least = [len(group) * plan.endpoint.least_bytes for group in groups]
        self._kept = {place // size for place in plan.keep}
        self._stages = plan.stages
        self._numbers: Iterator[int] = iter(range(len(groups)) if plan.seconds is None else cycle(range(len(groups))))
        self.deadline = float("inf")
        self.requests: list[tuple[int, float, float]] = []
        self.bodies: dict[int, bytes] = {}
        self.heads: list[bytes] = []

    def next(self) -> int | None:
        """The number of the request to send; None: the load is over."""
        return next(self._numbers, None) if time.perf_counter() < self.deadline else None

    def end(self) -> None:
        """Send nothing more."""
        self.deadline = 0.0

    def answered(self, number: int, began: float, head: bytes, parts: Sequence[bytes]) -> None:
        """Raises LoadFailed where the answer is too short for the vectors that were asked for."""
        now = time.perf_counter()
        self.requests.append((number, now, (now - began) * 1000))
        if sum(map(len, parts)) < self._least[number]:
            raise LoadFailed(f"an answer is too short for its vectors: {b''.join(parts)[:200]!r}")
        if number in self._kept:
            self.bodies.setdefault(number, b"".join(parts))
        if self._stages:
            self.heads.append(head)


def _request(endpoint: Endpoint, texts: list[str], *, single: bool) -> bytes:
    asked = {"input": texts[0] if single else texts, "model": endpoint.model, "encoding_format": endpoint.encoding}
    body = json.dumps({key: value for key, value in asked.items() if value is not None}).encode()
    head = [
        f"POST {endpoint.path} HTTP/1.1",
        f"host: {endpoint.host}:{endpoint.port}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *([f"authorization: Bearer {endpoint.key}"] if endpoint.key else []),
    ]
    return "\r\n".join(head).encode() + _END + body


class Connection(asyncio.Protocol):
    """A keep-alive connection with one request on its way at a time; `over` is done when there is none left to send."""

    def __init__(self, load: Generator) -> None:
        self._load = load
        self._transport: asyncio.Transport
        self._number = 0
        self._began = 0.0
        self._head = b""
        self._parts: list[bytes] = []
        self._missing = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is none of asyncio's classes

    def send(self) -> None:
        """The next request, or the end."""
        number = self._load.next()
        if number is None:
            self.over.set_result(None)
            self._transport.close()
            return
        self._number, self._head, self._parts = number, b"", []
        self._began = time.perf_counter()
        self._transport.write(self._load.wire[number])

    def data_received(self, data: bytes) -> None:
        try:
            if self._parts:
                self._take(data)
            else:
                self._begin(self._head + data)
        except LoadFailed as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(LoadFailed(f"the server closed a connection: {exc or 'without an answer'}"))

    def _begin(self, data: bytes) -> None:
        """What has come of an answer whose head was not whole yet."""
        head, end, body = data.partition(_END)
        if not end:
            self._head = data
            return
        self._head = head
        self._missing = _length(head, body)
        self._take(body)

    def _take(self, data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing <= 0:
            self._load.answered(self._number, self._began, self._head, self._parts)
            self.send()

    def _fail(self, error: LoadFailed) -> None:
        if not self.over.done():
            self.over.set_exception(error)


def _length(head: bytes, body: bytes) -> int:
    """Of the body, in bytes. Raises LoadFailed for what is no success, or does not say."""
    lines = head.decode("latin-1").lower().split("\r\n")
    if lines[0].split(" ")[1:2] != ["200"]:
        raise LoadFailed(f"{lines[0]}: {body[:200].decode('utf-8', 'replace')}")
    for line in lines:
        if line.startswith("content-length:"):
            return int(line.partition(":")[2])
    raise LoadFailed("an answer does not say how long it is; chunked answers are not read here")


async def run(plan: Plan) -> Load:
    """Raises LoadFailed and OSError."""
    load = Generator(plan)
    signal.signal(signal.SIGTERM, lambda _number, _frame: load.end())
    connections = await _connected(load, plan)
    gc.disable()
    cpu, began = time.process_time(), time.perf_counter()
    if plan.seconds is not None:
        load.deadline = min(load.deadline, began + plan.seconds)
    for connection in connections:
        connection.send()
    await asyncio.gather(*(connection.over for connection in connections))
    ended, spent = time.perf_counter(), time.process_time() - cpu
    kept = kept_vectors(plan, load.bodies)
    return Load(began, ended, load.requests, spent, kept, stages(load.heads))


async def _connected(load: Generator, plan: Plan) -> list[Connection]:
    loop = asyncio.get_running_loop()
    made: list[Connection] = []
    while len(made) < plan.connections:
        wave = min(_WAVE, plan.connections - len(made))
        opened = [
            loop.create_connection(lambda: Connection(load), plan.endpoint.host, plan.endpoint.port)
            for _ in range(wave)
        ]
        made += [protocol for _, protocol in await asyncio.gather(*opened)]
    return made


def main() -> None:
    """Exit status 1 and one line on stderr where an answer was not what was asked for."""
    allow_many()
    try:
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            report = runner.run(run(Plan.from_json(json.load(sys.stdin))))
    except (LoadFailed, OSError) as error:
        sys.exit(str(error))
    json.dump(asdict(report), sys.stdout)


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        from uvloop import new_event_loop  # not on every system
    except ImportError:
        return None
    return new_event_loop


if __name__ == "__main__":
    main()
