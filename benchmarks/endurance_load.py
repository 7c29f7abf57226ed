"""The load process of the endurance runs: several streams at once, at a bounded rate or as fast as answers come.

`python -m benchmarks.endurance_load` reads a plan from stdin and writes its records as they come, a line each, so that
half an hour takes no memory here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

import orjson

from benchmarks.endurance_plan import PATHS, Answered, Ended, Kept, LoadPlan, Record, Stream, body, line, rows_of
from sekisho.bench.mix import texts as mixed
from sekisho.bench.open_files import allow_many

_OK, _TOO_MANY = 200, 429
#: No answer takes longer, or the request counts as lost.
_PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Answer:
    """status: of HTTP. retry_after: seconds. content: the body."""

    status: int
    retry_after: float
    content: bytes


class Connections:
    """Keep-alive connections to one server, as many as there are requests on their way."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, content: bytes) -> Answer:
        """Sends on a connection that is free, or on a new one."""
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: "
        wire = b"".join((head.encode(), str(len(content)).encode(), b"\r\n\r\n", content))
        while self._idle:
            try:
                return await self._exchange(*self._idle.pop(), wire)
            except (ConnectionError, asyncio.IncompleteReadError) as broken:
                # A server may close an idle connection at any moment: then nothing came, and a new one is tried.
                if isinstance(broken, asyncio.IncompleteReadError) and broken.partial:
                    raise
        return await self._exchange(*await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22), wire)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wire: bytes) -> Answer:
        try:
            writer.write(wire)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            fields = dict(one.split(": ", 1) for one in lines[1:] if ": " in one)
            content = await reader.readexactly(int(fields["content-length"]))
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return Answer(int(lines[0].split()[1]), float(fields.get("retry-after", 1)), content)

    async def close(self) -> None:
        """None may be in use."""
        for _, writer in self._idle:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        self._idle.clear()


class Load:
    """All streams of a plan."""

    def __init__(self, plan: LoadPlan, records: TextIO) -> None:
        self._plan = plan
        self._records = records
        self._texts = mixed(plan.texts, plan.seed)
        self._place = 0
        self._connections = Connections(plan.port)
        self._draw = random.Random(plan.seed)  # noqa: S311 - reproducible, not secret
        self._began = 0.0

    async def run(self) -> None:
        """Until every stream has ended and its last answer has come."""
        self._began, cpu = time.perf_counter(), time.process_time()
        if self._plan.in_turn:
            for stream in self._plan.streams:
                await self._stream(stream)
        else:
            await asyncio.gather(*map(self._stream, self._plan.streams))
        await self._connections.close()
        self._write(Ended(self._now(), time.process_time() - cpu))

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def _write(self, record: Record) -> None:
        self._records.write(line(record) + "\n")

    async def _stream(self, stream: Stream) -> None:
        until = self._now() + (self._plan.seconds or math.inf)
        if stream.rate:
            await self._at_random_moments(stream, until)
        else:
            going = self._going(stream, until)
            await asyncio.gather(*(self._one_after_another(stream, going) for _ in range(stream.clients)))

    def _going(self, stream: Stream, until: float) -> Iterator[None]:
        """Once for each request that the clients of the stream may still send."""
        sent = 0
        while sent != stream.requests and self._now() < until:
            yield None
            sent += 1

    async def _one_after_another(self, stream: Stream, going: Iterator[None]) -> None:
        for _ in going:
            await self._send(stream, self._now())

    async def _at_random_moments(self, stream: Stream, until: float) -> None:
        due = self._now() + self._draw.expovariate(stream.rate)
        async with asyncio.TaskGroup() as group:
            while due < until:
                await asyncio.sleep(due - self._now())
                group.create_task(self._send(stream, due))
                due += self._draw.expovariate(stream.rate)

    def _next_texts(self, count: int) -> list[int]:
        self._place += count
        return [number % len(self._texts) for number in range(self._place - count, self._place)]

    async def _send(self, stream: Stream, due: float) -> None:
        numbers = self._next_texts(stream.size + (stream.shape == "rerank"))
        content = json.dumps(body(stream, [self._texts[number] for number in numbers])).encode()
        refused, wrong = 0, ""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answer = await self._connections.post(PATHS[stream.shape], content)
                while answer.status == _TOO_MANY and self._plan.retry:
                    refused += 1
                    await asyncio.sleep(answer.retry_after)
                    answer = await self._connections.post(PATHS[stream.shape], content)
            took = 1000 * (self._now() - due)
            self._judge(stream, numbers, answer)
        except (OSError, EOFError, LookupError, ValueError) as error:
            took, wrong = 1000 * (self._now() - due), f"{type(error).__name__}: {error}"
        self._write(Answered(stream.name, due, took, stream.size, refused, wrong))

    def _judge(self, stream: Stream, numbers: list[int], answer: Answer) -> None:
        """Raises ValueError or LookupError where something is wrong; writes down the vectors whose turn has come."""
        if answer.status != _OK:
            raise ValueError(f"{answer.status} {answer.content[:200].decode('utf-8', 'replace')}")
        rows = rows_of(stream.shape, orjson.loads(answer.content), stream.size)
        query = numbers[0] if stream.shape == "rerank" else None
        for number, row in zip(numbers[query is not None :], rows, strict=True):
            if self._draw.random() < self._plan.kept:
                self._write(Kept(stream.name, number, row, query))


def main() -> None:
    """The command line."""
    allow_many()
    plan = LoadPlan.parse(sys.stdin.read())
    with plan.records.open("w", encoding="utf-8") as records:
        asyncio.run(Load(plan, records).run())


if __name__ == "__main__":
    main()
