"""HTTP/1.1 below the application: what curl really sends, and our error body even for what is no HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote_from_bytes

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from sekisho.errors import InvalidRequest
from sekisho.http.answers import error_response
from sekisho.http.departure import CONNECTION, Connection

#: Every byte that may stand in a request line as it is, `%` included: what is encoded already stays so.
_ASCII = "".join(map(chr, range(0x20, 0x7F)))
#: In an answer's head: what no header may hold, and what says more than how long the body is.
_UNUSUAL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|^(connection|transfer-encoding):", re.MULTILINE)


class Whole:
    """An answer that comes in two messages, as all of ours do, sent in one write; every other as uvicorn sends it.

    Two system calls for what fits into one, and uvicorn's checks of a header at a time, take 43 µs with 64 clients;
    this takes 33, and the client is not woken for a head that says nothing yet.
    """

    __slots__ = ("_cycle", "_start")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._start: Any = None

    async def send(self, message: Any) -> None:
        """ASGI's: the start waits for what follows it."""
        if self._start is None and message["type"] == "http.response.start":
            self._start = message
            return
        cycle, start = self._cycle, self._start
        if start is not None and not cycle.response_started:
            body = message.get("body", b"")
            head = None if _needs_uvicorn(cycle, message) else whole_head(start, cycle.default_headers, len(body))
            if head is not None:
                self._write(head, body)
                return
            await cycle.send(start)
        await cycle.send(message)

    def _write(self, head: bytes, body: bytes) -> None:
        """What uvicorn's own `send` does to a cycle in two calls."""
        cycle = self._cycle
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        cycle.transport.writelines((head, body))
        cycle.message_event.set()
        cycle.on_response()


def _needs_uvicorn(cycle: RequestResponseCycle, message: Any) -> bool:
    """Where an answer is more than a head and a body on a connection that stays and takes it."""
    return (
        message.get("more_body", False)
        or not cycle.keep_alive
        or cycle.disconnected
        or cycle.flow.write_paused
        or cycle.scope["method"] == "HEAD"
    )


def whole_head(start: Any, always: Iterable[tuple[bytes, bytes]], length: int) -> bytes | None:
    """The bytes before a body of this length; None where headers say more than what is in it, or hold what none may.

    always: headers of every answer.
    """
    lines = [b"%b: %b" % header for header in (*always, *start["headers"])]
    if b"content-length: %d" % length not in lines:
        return None
    head = b"\r\n".join(lines)
    if len(lines) != head.count(b"\n") + 1 or _UNUSUAL.search(head):
        return None
    return b"%b%b\r\n\r\n" % (STATUS_LINE[start["status"]], head)


class Protocol(HttpToolsProtocol):
    """uvicorn's, whose parser refuses a URL with raw UTF-8 in it; `curl "…/embed?q=動的計画法"` sends just that."""

    _inside_message = False
    _connection: Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client is here."""
        self._connection = Connection()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self._connection.closed()

    def data_received(self, data: bytes) -> None:
        """Bytes of the connection."""
        if not self._inside_message:
            line, end, rest = data.partition(b"\r\n")
            if end and not line.isascii():
                data = quote_from_bytes(line, safe=_ASCII).encode("ascii") + end + rest
        super().data_received(data)

    def on_message_begin(self) -> None:
        """The parser's callback for a request's first byte."""
        self._inside_message = True
        super().on_message_begin()
        self.scope[CONNECTION] = self._connection  # type: ignore[literal-required]  # ASGI allows more keys

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """uvicorn's, for every request."""
        whole = Whole(cycle)
        super()._start_asgi_task(cycle, lambda scope, receive, _send: app(scope, receive, whole.send))

    def on_message_complete(self) -> None:
        """The parser's callback for a request's last byte."""
        self._inside_message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no HTTP request, and close."""
        answer = error_response(InvalidRequest("The request is not valid HTTP/1.1: check the URL and the headers"))
        head = [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in answer.raw_headers]
        lines = ["HTTP/1.1 400 Bad Request", *head, "connection: close", "", ""]
        self.transport.write("\r\n".join(lines).encode("latin-1") + bytes(answer.body))
        self.transport.close()
