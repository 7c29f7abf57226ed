"""What one attempt at a call came to: the status read, the body parsed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from sekisho.runtime.remote.dialect import Answer, Garbage, Operation
from sekisho.runtime.remote.retries import Outcome, meaning, message_of, retry_after
from sekisho.runtime.remote.transport import Absence, Reply

#: Reading a larger answer takes so long that it is done in a thread.
_INLINE_BYTES = 128 * 1024

_ABSENT: dict[Absence, Outcome] = {"timeout": "timeout", "dropped": "dropped", "unreadable": "garbage"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """wait: seconds that the service asks for. said: its message where it rejects the request, else what is wrong.

    too_many: the most inputs that it takes, where it rejects the request for holding more.
    """

    outcome: Outcome
    answer: Answer | None = None
    status: int | None = None
    wait: float | None = None
    said: str = ""
    too_many: int | None = None


async def judged(
    reply: Reply | Absence, operation: Operation, count: int, too_many: Callable[[str], int | None]
) -> Attempt:
    """What a reply to a call with `count` inputs came to."""
    if not isinstance(reply, Reply):
        said = (
            "cannot be reached, or broke the connection" if reply == "dropped" else "gave an answer that is unreadable"
        )
        return Attempt(_ABSENT[reply], said=said)
    outcome = meaning(reply.status)
    if outcome == "ok":
        return await _answered(reply, operation, count)
    wait = retry_after(reply.headers, datetime.now(UTC))
    if outcome != "rejected":
        return Attempt(outcome, status=reply.status, wait=wait, said=f"failed with status {reply.status}")
    message = _message(reply.content)
    return Attempt(outcome, status=reply.status, said=message, too_many=too_many(message))


async def _answered(reply: Reply, operation: Operation, count: int) -> Attempt:
    try:
        if len(reply.content) > _INLINE_BYTES:
            answer = await asyncio.to_thread(_read, reply, operation, count)
        else:
            answer = _read(reply, operation, count)
    except Garbage as error:
        return Attempt("garbage", status=reply.status, said=f"gave an answer {error}")
    return Attempt("ok", answer, reply.status)


def _read(reply: Reply, operation: Operation, count: int) -> Answer:
    try:
        values = orjson.loads(reply.content)
    except orjson.JSONDecodeError:
        raise Garbage("that is no JSON") from None
    return operation.read(values, reply.headers, count)


def _message(content: bytes) -> str:
    try:
        return message_of(orjson.loads(content))
    except orjson.JSONDecodeError:
        return ""
