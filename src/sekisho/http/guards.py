"""What every request passes before and after its route: an id, a key check, one log line, one kind of error."""

from __future__ import annotations

import hashlib
import hmac
import random
import re
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sekisho.errors import ClientGone, InternalError, SekishoError, Unauthorized
from sekisho.http.answers import error_response
from sekisho.http.bodies import header
from sekisho.observability import REQUEST_SECONDS, REQUESTS, logger

log = logger(__name__)

#: Answered without a key: an orchestrator has none.
OPEN_PATHS = frozenset({"/healthz", "/health", "/livez", "/readyz", "/ping"})
#: Set in a request's scope by a route that has recognised the shape of text-embeddings-inference.
TEI_SHAPED = "sekisho.tei_shaped"

_TEI_WORDS = frozenset({"embed", "embed_all", "embed_sparse", "predict", "similarity", "tokenize", "decode"})
#: The same words behind a version are Cohere's and others'.
_OTHER_API = re.compile(r"/v[12]/|/(embeddings|rerank|score|models)$")
_MODEL_PREFIX = "/m/"

#: Finding a metric by its labels costs more than counting in it. Routes and statuses are few.
_requests, _request_seconds = lru_cache(REQUESTS.labels), lru_cache(REQUEST_SECONDS.labels)

_SANE_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")


class Keys:
    """The accepted API keys, kept as hashes."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, headers: Headers) -> None:
        """Raises Unauthorized. Every known key is compared, each in constant time."""
        presented = _presented(headers)
        if not presented:
            raise Unauthorized("This server needs an API key: send it as `Authorization: Bearer <key>`")
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        if not sum(hmac.compare_digest(digest, known) for known in self._digests):
            raise Unauthorized("The API key is not known to this server: check the key your client sends")


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, keys: Keys, paths: Mapping[Any, str]) -> None:
        """`paths`: what metrics call an endpoint; its aliases count under the same name."""
        self._app = app
        self._keys = keys
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(header(scope, b"x-request-id"))
        status = 499
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            if self._keys and scope["path"] not in OPEN_PATHS:
                self._keys.check(Headers(scope=scope))
            await self._app(scope, receive, send_with_id)
        except ClientGone:
            pass
        except Exception as error:
            if started:
                raise
            await _as_response(scope, error)(scope, receive, send_with_id)
        finally:
            path = self._paths.get(scope.get("endpoint"), "unmatched")
            _account(scope["method"], path, status, time.perf_counter() - began)
            structlog.contextvars.unbind_contextvars("request_id")


def _as_response(scope: Scope, error: Exception) -> Response:
    """The answer an exception becomes. What is not ours is logged whole and told as an internal error."""
    if isinstance(error, SekishoError):
        if error.status >= 500:
            log.error("failed", code=error.code, message=error.message)
        answer = error
    else:
        log.error("failed", exc_info=error)
        answer = InternalError("Something went wrong in the server; its log has the reason under this request id")
    return error_response(answer, tei=bool(scope.get(TEI_SHAPED, _asks_tei(scope["method"], scope["path"]))))


def _asks_tei(method: str, path: str) -> bool:
    """Whether a request looks like text-embeddings-inference's before its body is read."""
    bare = path == "/" or path.startswith(_MODEL_PREFIX) or path.rpartition("/")[2] in _TEI_WORDS
    return method == "POST" and bare and not _OTHER_API.search(path)


def _presented(headers: Headers) -> str:
    """`Authorization: Bearer x`, a bare `Authorization: x`, `api-key: x` or `x-api-key: x`."""
    authorization = headers.get("authorization", "").strip()
    scheme, _, rest = authorization.partition(" ")
    if scheme.casefold() == "bearer":
        authorization = rest.strip()
    return authorization or headers.get("api-key", "").strip() or headers.get("x-api-key", "").strip()


def _request_id(given: str) -> str:
    if given and _SANE_ID.fullmatch(given):
        return given
    return f"req_{random.getrandbits(96):024x}"


def _account(method: str, path: str, status: int, seconds: float) -> None:
    _requests(path, str(status)).inc()
    _request_seconds(path).observe(seconds)
    log.debug("answered", method=method, route=path, status=status, ms=round(seconds * 1000, 2))
