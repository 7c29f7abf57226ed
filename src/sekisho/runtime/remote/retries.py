"""What an upstream's answer means, and when to ask again. Pure: whoever calls has the clock and the dice."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from sekisho.runtime.remote.dialect import Headers

#: ok: an answer. limited: come later. failed: its fault, perhaps not the next time. timeout: nothing in time.
#: dropped: no connection, or one that broke. garbage: 200, and no answer. rejected: the request is wrong.
#: refused: this server is not let in, or asks for what is not there.
Outcome = Literal["ok", "limited", "failed", "timeout", "dropped", "garbage", "rejected", "refused"]

#: Vectors and scores are functions of the texts, so every call may be repeated; these are the outcomes where it helps.
RETRIED: frozenset[Outcome] = frozenset({"limited", "failed", "timeout", "dropped", "garbage"})
#: These say that something is wrong with the replica.
FAILURES: frozenset[Outcome] = frozenset({"failed", "timeout", "dropped", "garbage"})

#: No client is made to wait longer than this for a service that asks for patience; it is told to come back instead.
PATIENCE_SECONDS = 3.0
_FIRST_SECONDS = 0.25
_MOST_SECONDS = 4.0
_SHOWN_CHARS = 500


def meaning(status: int) -> Outcome:
    """What a status says."""
    if status == 200:
        return "ok"
    if status == 429:
        return "limited"
    if status >= 500 or status in {408, 409, 424, 425}:  # 424: text-embeddings-inference's backend failed
        return "failed"
    if status in {400, 413, 422}:
        return "rejected"
    return "refused"


def retry_after(headers: Headers, now: datetime) -> float | None:
    """Seconds to wait: `retry-after-ms`, else `Retry-After` in seconds or as a date. None where it does not say.

    now: with a time zone.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after", "")
    seconds = _number(given)
    if seconds is not None or not given:
        return seconds
    try:
        moment = parsedate_to_datetime(given)
    except ValueError:
        return None
    return max(0.0, (moment - now).total_seconds()) if moment.tzinfo is not None else None


def backoff(attempt: int, dice: float) -> float:
    """Seconds before the next attempt: doubling, and between half and all of that by the dice (0 to 1).

    attempt: how many have been made.
    """
    return float(min(_FIRST_SECONDS * 2 ** (attempt - 1), _MOST_SECONDS) * (0.5 + dice / 2))


def message_of(values: Any) -> str:
    """What an error's body says to a person, however it is shaped; "" where it says nothing."""
    found = _message(values)
    return found if len(found) <= _SHOWN_CHARS else f"{found[:_SHOWN_CHARS]}…"


def _message(values: Any) -> str:
    """OpenAI's `error.message`, Cohere's `message`, Voyage's `detail`, TEI's `error`, FastAPI's list of `detail`."""
    if isinstance(values, str):
        return " ".join(values.split())
    if isinstance(values, list):
        return "; ".join(filter(None, map(_message, values[:3])))
    if isinstance(values, dict):
        return next(filter(None, (_message(values.get(name)) for name in ("error", "message", "detail", "msg"))), "")
    return ""


def _number(given: str) -> float | None:
    try:
        number = float(given)
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
