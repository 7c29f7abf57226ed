"""Answers: JSON straight from array buffers, the headers of a success, and the one error body."""

from __future__ import annotations

import math
import sys
import time
from binascii import b2a_base64
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

from sekisho.contract import Timings
from sekisho.errors import SekishoError

_TEI_TYPES = {413: "Validation", 429: "Overloaded", 503: "Unhealthy"}
_LITTLE_ENDIAN = sys.byteorder == "little"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class _Json(Response):
    """Bytes of JSON. What every answer has in common is not found out for each."""

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]


def json_response(content: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """JSON of plain values and NumPy arrays. Names of headers are in lower case."""
    return _Json(orjson.dumps(content, option=_OPTIONS), status, headers or {})


def embedding_value(row: NDArray[Any], *, as_base64: bool) -> NDArray[Any] | str:
    """A vector as JSON numbers (orjson reads the array itself) or as base64 of its little-endian bytes."""
    if not as_base64:
        return row
    if not _LITTLE_ENDIAN:
        row = row.astype(row.dtype.newbyteorder("<"), copy=False)
    return b2a_base64(np.ascontiguousarray(row).data, newline=False).decode("ascii")


def success_headers(timings: Timings, total_seconds: float, truncated: int) -> dict[str, str]:
    """Where the time went, in milliseconds, and how many texts were cut if any."""
    headers = {
        "x-queue-ms": _milliseconds(timings.queue),
        "x-tokenize-ms": _milliseconds(timings.tokenize),
        "x-inference-ms": _milliseconds(timings.inference),
        "x-total-ms": _milliseconds(total_seconds),
    }
    if truncated:
        headers["x-sekisho-truncated"] = str(truncated)
    return headers


class Measured(Protocol):
    """What a service gives back, as far as the headers of its answer go."""

    @property
    def timings(self) -> Timings: ...

    @property
    def truncated(self) -> int: ...


def success(content: Any, result: Measured, began: float) -> Response:
    """The answer to a request that began at this moment of `time.perf_counter`."""
    return json_response(content, success_headers(result.timings, time.perf_counter() - began, result.truncated))


def error_response(error: SekishoError, *, tei: bool = False) -> Response:
    """The one body of every error; for requests in text-embeddings-inference's shape `error` is the bare message."""
    # It may quote what the client sent, which need not be valid Unicode.
    message = error.message.encode("utf-8", "backslashreplace").decode("utf-8")
    detail: dict[str, Any] = {
        "message": message,
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    body: dict[str, Any] = {"error": detail, "message": message, "detail": message}
    if tei:
        body |= {
            "error": message,
            "error_type": _TEI_TYPES.get(error.status, "Validation" if error.status < 500 else "Backend"),
        }
    return json_response(body, _retry_headers(error), error.status)


def _retry_headers(error: SekishoError) -> dict[str, str]:
    """Retry-After in whole seconds of 1 to 60, which every client honours; a permanent failure says not to retry."""
    headers: dict[str, str] = {}
    if error.retry_after_seconds is not None:
        seconds = min(60, max(1, math.ceil(error.retry_after_seconds)))
        headers = {"retry-after": str(seconds), "retry-after-ms": str(seconds * 1000)}
    return headers | ({"x-should-retry": "false"} if error.permanent else {})


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"
