"""An answer in one write is, byte for byte, what uvicorn writes."""

import asyncio
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sekisho.http.protocol import Protocol, whole_head

Headers = list[tuple[bytes, bytes]]

JSON: Headers = [(b"content-length", b"4"), (b"content-type", b"application/json")]
ANSWERS: dict[str, tuple[Headers, list[bytes]]] = {
    "whole": (JSON, [b"null"]),
    "no length": ([(b"x", b"y")], [b"null"]),
    "no body": ([(b"content-length", b"0")], [b""]),
    "parts": (JSON, [b"nu", b"ll"]),
    "chunks": ([], [b"nu", b"ll"]),
    "closing": ([*JSON, (b"connection", b"close")], [b"null"]),
    "chunked": ([(b"transfer-encoding", b"chunked")], [b"null"]),
    "too short": ([(b"content-length", b"5")], [b"null"]),
    "too long": ([(b"content-length", b"3")], [b"null"]),
    "split header": ([*JSON, (b"x", b"y\r\nset-cookie: z")], [b"null"]),
    "return in header": ([*JSON, (b"x", b"y\rz")], [b"null"]),
    "zero in header": ([*JSON, (b"x", b"y\x00z")], [b"null"]),
    "tab in header": ([*JSON, (b"x", b"y\tz")], [b"null"]),
}
REQUESTS = {
    "one": b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}",
    "two at once": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 2,
    "head": b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n",
    "old": b"GET / HTTP/1.0\r\n\r\n",
    "closing": b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "expecting": b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
}


def answering(headers: Headers, parts: list[bytes]) -> ASGIApp:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    return app


async def told(protocol: type[HttpToolsProtocol], app: ASGIApp, request: bytes) -> bytes:
    """All that comes back until the server has nothing more to say."""
    config, state = Config(app, log_config=None), ServerState()
    config.load()
    state.default_headers = [(b"date", b"today")]

    def make() -> Any:
        return protocol(config, state, {})

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(request)
    answer = b""
    try:
        while True:
            part = await asyncio.wait_for(reader.read(65536), 0.05)
            if not part:
                return answer + b"<end>"
            answer += part
    except TimeoutError:
        return answer
    finally:
        writer.close()
        server.close()


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_uvicorns(answer: str, request_name: str) -> None:
    app, request = answering(*ANSWERS[answer]), REQUESTS[request_name]
    theirs = asyncio.run(told(HttpToolsProtocol, app, request))
    assert asyncio.run(told(Protocol, app, request)) == theirs


def test_a_whole_answer_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr("uvicorn.protocols.http.httptools_impl.RequestResponseCycle.send", sent.append)
    assert asyncio.run(told(Protocol, answering(*ANSWERS["whole"]), REQUESTS["one"])).endswith(b"\r\n\r\nnull")
    assert sent == []


def test_a_head_holds_what_every_answer_has() -> None:
    head = whole_head({"status": 404, "headers": [(b"content-length", b"2")]}, [(b"date", b"today")], 2)
    assert head == b"HTTP/1.1 404 Not Found\r\ndate: today\r\ncontent-length: 2\r\n\r\n"
