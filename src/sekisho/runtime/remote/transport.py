"""One HTTP client for all replicas of a model: a call goes out, an answer or the kind of its absence comes back."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from functools import cache
from typing import Literal

import httpx2
import structlog

import sekisho
from sekisho.runtime.remote.dialect import Headers

#: Longer than any service keeps an idle connection is no use; one that was closed meanwhile is noticed, or tried again.
_IDLE_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
#: 2,048 vectors of 4,096 numbers as JSON are half of this.
_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whatever its status."""

    status: int
    headers: Headers
    content: bytes


#: timeout: the answer was not whole in time. dropped: no connection, or one that broke.
#: unreadable: too many bytes, or bytes that are not packed as they claim.
Absence = Literal["timeout", "dropped", "unreadable"]


class Transport:
    """Follows no redirect: a key must not travel to another host. Proxies are those of the environment."""

    def __init__(self, key: str | None, timeout_seconds: float, connections: int) -> None:
        """`connections`: the most that are open at once."""
        headers = {"user-agent": f"sekisho/{sekisho.__version__}", "content-type": "application/json"}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        self._seconds = timeout_seconds
        self._client = httpx2.AsyncClient(
            headers=headers,
            verify=_certificates(),
            follow_redirects=False,
            # The whole call has one deadline, below; a connection that does not come up is known sooner.
            timeout=httpx2.Timeout(None, connect=min(timeout_seconds, _CONNECT_SECONDS)),
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=_IDLE_SECONDS
            ),
        )

    async def post(self, url: str, content: bytes) -> Reply | Absence:
        """Cancelled, it closes the connection, so that the service can stop too."""
        try:
            async with asyncio.timeout(self._seconds), self._client.stream(
                "POST", url, content=content, headers=_request_id()
            ) as response:  # fmt: skip
                parts, size = [], 0
                async for part in response.aiter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > _MOST_BYTES:
                        return "unreadable"
                return Reply(response.status_code, response.headers, b"".join(parts))
        except TimeoutError:
            return "timeout"
        except httpx2.DecodingError:
            return "unreadable"
        except httpx2.RequestError:  # a connection that does not come up in time among them: nothing was sent
            return "dropped"

    async def close(self) -> None:
        await self._client.aclose()


@cache
def _certificates() -> ssl.SSLContext:
    """The machine's certificate authorities, or those of SSL_CERT_FILE: reading them takes 60 ms."""
    return httpx2.create_ssl_context()


def _request_id() -> dict[str, str]:
    """The id of the request that this call serves, so that the service's log and ours can be read together."""
    found = structlog.contextvars.get_contextvars().get("request_id")
    return {"x-request-id": found} if isinstance(found, str) else {}
