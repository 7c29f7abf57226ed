"""HTTP/1.1 below the application: what curl really sends, and our error body even for what is no HTTP."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from urllib.parse import quote_from_bytes

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sekisho.errors import InvalidRequest
from sekisho.http.answers import error_response
from sekisho.http.departure import CONNECTION, Connection

#: Every byte that may stand in a request line as it is, `%` included: what is encoded already stays so.
_ASCII = "".join(map(chr, range(0x20, 0x7F)))


class Together:
    """What a cycle of uvicorn's writes to: an answer's head goes out with the first of its body, in one system call.

    Two cost 15 to 30 µs more, and wake the client for a head that says nothing yet.
    """

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """There may be a `100 Continue`; the answer's own first write is its head, its second the body's."""
        if not self._cycle.response_started:
            self._transport.write(data)
        elif self._head is None:
            self._head = data
        elif self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        """As the transport's."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Where an answer ends at its head, the head is sent."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()


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
        """uvicorn's, for every request. An answer to HEAD is a head alone."""
        if cycle.scope["method"] != "HEAD":
            cycle.transport = cast("asyncio.Transport", Together(cycle))
        super()._start_asgi_task(cycle, app)

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
