"""A service on loopback: it answers as its kind does, or goes wrong in the ways it is told to, and writes down calls.

As a program: `python -m tests.upstream.service KIND PORT_FILE` serves until it is killed.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.upstream.wire import KEY, WIRES, Refused, Reply, Wire

#: What a call may meet instead of an answer.
Fault = str

_SAID = {401: "no valid key", 402: "no credit", 403: "forbidden", 429: "too many requests", 500: "boom", 503: "loading"}


@dataclass
class Call:
    """A call as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    gone: threading.Event = field(default_factory=threading.Event)


class Service(ThreadingHTTPServer):
    """`faults` are met by the next calls, one each: a status, `401`; with a Retry-After, `429 7`; or a name below."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, wire: Wire, *, delay: float = 0.0, stalls: float = 1.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wire = wire
        self.delay = delay
        self.stalls = stalls
        self.calls: list[Call] = []
        self.faults: deque[Fault] = deque()
        self.lock = threading.Lock()
        self.running = 0
        self.most_running = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        call = Call(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        service = self.server
        with service.lock:
            service.calls.append(call)
            fault = service.faults.popleft() if service.faults else None
            service.running += 1
            service.most_running = max(service.most_running, service.running)
        try:
            if service.delay:
                time.sleep(service.delay)
            self._answer(call, fault)
        finally:
            with service.lock:
                service.running -= 1

    def _answer(self, call: Call, fault: Fault | None) -> None:
        if fault is None:
            self._serve(call)
        elif fault[0].isdigit():
            status, _, wait = fault.partition(" ")
            values = self.server.wire.error(_SAID.get(int(status), "wrong"), int(status))
            self._send(int(status), json.dumps(values).encode(), {"retry-after": wait} if wait else {})
        else:
            getattr(self, f"_{fault}")(call)

    def _serve(self, call: Call) -> None:
        try:
            if call.headers.get("authorization") != f"Bearer {KEY}":
                raise Refused(401, "no valid key")
            route = self.server.wire.routes.get(call.path)
            if route is None:
                raise Refused(404, f"no route {call.path}")
            reply = route(call.body)
        except Refused as error:
            self._send(error.status, json.dumps(self.server.wire.error(error.message, error.status)).encode(), {})
            return
        self._send(200, json.dumps(reply.values).encode(), reply.headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _stall(self, call: Call) -> None:
        """No answer; notices when the client leaves."""
        self.connection.settimeout(self.server.stalls)
        with suppress(TimeoutError, OSError):
            if not self.connection.recv(1):
                call.gone.set()
        self.close_connection = True

    def _drop(self, call: Call) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _drop_within(self, call: Call) -> None:
        """Half an answer, and then no connection."""
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        self.wfile.write(b'{"data": [')
        self.wfile.flush()
        self._drop(call)

    def _drip(self, call: Call) -> None:
        """An answer that never comes to its end, a byte at a time, none of them late."""
        self.send_response(200)
        self.send_header("content-length", "100000")
        self.end_headers()
        until = time.monotonic() + self.server.stalls
        with suppress(OSError):
            while time.monotonic() < until:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.01)
        self.close_connection = True

    def _html(self, call: Call) -> None:
        self._send(200, b"<html>It works!</html>", {})

    def _packed(self, call: Call) -> None:
        """Not the gzip that it says it is."""
        self._send(200, b"{}", {"content-encoding": "gzip"})

    def _empty(self, call: Call) -> None:
        self._send(200, b"{}", {})

    def _short(self, call: Call) -> None:
        """One input's answer is left out."""
        route = self.server.wire.routes[call.path]
        key = next(name for name in ("input", "texts", "inputs", "documents") if name in call.body)
        self._serve_reply(route({**call.body, key: call.body[key][:-1]}))

    def _serve_reply(self, reply: Reply) -> None:
        self._send(200, json.dumps(reply.values).encode(), reply.headers)

    def _redirect(self, call: Call) -> None:
        self._send(307, b"", {"location": os.environ["SEKISHO_TEST_REDIRECT"]})


@contextmanager
def started(kind: str, **options: Any) -> Iterator[Service]:
    """A service of this kind in threads of this process."""
    service = Service(WIRES[kind], **options)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        service.server_close()
        thread.join(5)


def main(kind: str, port_file: str) -> None:
    """Serve until killed."""
    service = Service(WIRES[kind])
    Path(port_file).write_text(str(service.server_address[1]))
    service.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
