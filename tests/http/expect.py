"""What every answer has to be."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

#: Besides every 500: what stays so until a person has changed something.
PERMANENT = {"model_unpinned"}
#: What is posted here is text-embeddings-inference's, also where nobody has read the body yet.
TEI = {"/", "/embed", "/embed_all", "/embed_sparse", "/predict", "/similarity", "/tokenize", "/decode"}


def failed(response: httpx.Response, status: int, code: str, param: str | None = None, *, tei: bool = False) -> str:
    """Check an error answer whole; its message."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    message: str = body["message"]
    assert body["detail"] == message
    assert message
    assert "Traceback" not in message
    if tei:
        assert set(body) == {"error", "error_type", "message", "detail"}
        assert body["error"] == message
        assert body["error_type"]
    else:
        assert set(body) == {"error", "message", "detail"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert body["error"]["message"] == message
        assert (body["error"]["code"], body["error"]["param"]) == (code, param)
    if status in {429, 503}:
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert int(response.headers["retry-after-ms"]) == 1000 * int(response.headers["retry-after"])
    if code != "source_unreachable":  # permanent only while the server is offline
        assert ("x-should-retry" in response.headers) == (status == 500 or code == "model_unpinned")
    if status == 500:
        assert response.headers["x-should-retry"] == "false"
    return message


def is_the_one_error_body(response: httpx.Response) -> bool:
    """Whether this is an error answer in the shape of all error answers."""
    body = response.json()
    return bool(
        isinstance(body, dict)
        and isinstance(body["message"], str)
        and body["message"] == body["detail"]
        and (body["error"] == body["message"] if "error_type" in body else body["error"]["message"] == body["message"])
        and response.headers["x-request-id"]
    )


def vectors(response: httpx.Response) -> NDArray[np.float32]:
    """Check a success of /v1/embeddings whole; its vectors, float or base64, as the exact float32 sent."""
    assert response.status_code == 200, response.text[:500]
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    for stage in ("queue", "tokenize", "inference", "total"):
        assert float(response.headers[f"x-{stage}-ms"]) >= 0
    body = response.json()
    assert set(body) == {"object", "data", "model", "usage"}
    assert body["object"] == "list"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] > 0
    assert [item["index"] for item in body["data"]] == list(range(len(body["data"])))
    assert all(set(item) == {"object", "index", "embedding"} for item in body["data"])
    assert all(item["object"] == "embedding" for item in body["data"])
    return np.stack([_vector(item["embedding"]) for item in body["data"]])


def _vector(value: str | list[float]) -> NDArray[np.float32]:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), "<f4")
    return np.array(value, np.float32)


def raw(values: Any) -> bytes:
    """JSON bytes with every character escaped, lone surrogates included."""
    return json.dumps(values).encode("ascii")
