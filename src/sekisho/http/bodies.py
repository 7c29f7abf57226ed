"""Request bodies: read within a limit, parsed, and checked with errors that name the field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ValidationError
from starlette.requests import Request
from starlette.types import Scope

from sekisho.contract import Truncation
from sekisho.errors import BodyTooLarge, ClientGone, InvalidRequest, UnsupportedMediaType
from sekisho.service.embed import Input

Body = TypeVar("Body", bound=BaseModel)

_TRUNCATIONS: dict[object, Truncation | None] = {
    None: None,
    True: "end",
    False: "none",
    "END": "end",
    "START": "start",
    "NONE": "none",
}


def _read_truncation(value: object) -> Truncation | None:
    key = value.upper() if isinstance(value, str) else value
    if not isinstance(key, bool | str | None) or key not in _TRUNCATIONS:
        raise ValueError('true, false, "END", "START" or "NONE"')
    return _TRUNCATIONS[key]


def _read_dimensions(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number")
    return None if value == 0 else value


#: true and END cut the tail, START the head; false and NONE refuse what is too long. As Cohere, Voyage and TEI say it.
Truncate = Annotated[
    Truncation | None,
    BeforeValidator(_read_truncation, json_schema_input_type=bool | Literal["START", "END", "NONE"] | None),
]
#: Some clients send 0 for "all of them".
Dimensions = Annotated[int | None, BeforeValidator(_read_dimensions, json_schema_input_type=int | None)]

_MIB = 1024 * 1024
_SHOWN_CHARS = 100


def header(scope: Scope, name: bytes) -> str:
    """The first header of that name, which is in lower case; "" where there is none."""
    for found, value in scope["headers"]:
        if found == name:
            text: str = value.decode("latin-1")
            return text
    return ""


async def read_body(request: Request, limit: int) -> bytes:
    """Raises BodyTooLarge as soon as more than `limit` bytes are announced or have come, ClientGone.

    Of ASGI's own messages: the framework's stream is an asynchronous generator, 8 µs dearer where all comes at once.
    """
    announced = header(request.scope, b"content-length")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("The client hung up while sending its request")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def parse_object(body: bytes, content_type: str) -> dict[str, Any]:
    """The body as a JSON object. A wrong content type is forgiven where the body is JSON all the same."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _why_not_json(body, content_type, error) from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"The body must be a JSON object, not {kind_of(value)}")
    return value


def check(model: type[Body], values: dict[str, Any]) -> Body:
    """The values as the route's own type. Raises InvalidRequest that names the first wrong field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0]) if problem["loc"] else ""
        if problem["type"] == "missing":
            raise InvalidRequest(f"`{field}` is missing", param=field) from None
        if problem["type"] == "too_short" and not problem["input"]:
            raise InvalidRequest(
                f"`{_dotted(problem['loc'])}` is an empty list: send at least one", param=field
            ) from None
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        raise InvalidRequest(f"`{field}` must be {message}, not {kind_of(problem['input'])}", param=field) from None


def _dotted(location: tuple[str | int, ...]) -> str:
    """`inputs[0].content`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    """A null is a key that is not there, so that it never hides another spelling of the same field."""
    return {key: value for key, value in values.items() if value is not None}


def read_inputs(value: object, field: str = "input") -> tuple[list[Input], bool]:
    """(the inputs, whether the client sent a single one) from any form OpenAI's API takes, and `{"text": …}` items."""
    if isinstance(value, str):
        return [value], True
    if not isinstance(value, list):
        raise InvalidRequest(f"`{field}` must be a string or a list, not {kind_of(value)}", param=field)
    if not value:
        raise InvalidRequest(f"`{field}` is an empty list: send at least one text", param=field)
    if all(type(item) is str for item in value):
        return value, False
    if all(type(item) is int for item in value):
        return [tuple(value)], True
    return [_read_item(item, index, field) for index, item in enumerate(value)], False


def _read_item(item: object, index: int, field: str) -> Input:
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and isinstance(item.get("text"), str):
        text: str = item["text"]
        return text
    if isinstance(item, list) and item and all(type(part) is int for part in item):
        return tuple(item)
    found = "an empty list" if item == [] else kind_of(item)
    raise InvalidRequest(
        f"{field}[{index}] must be a string, a list of token ids or an object with a `text`, not {found}", param=field
    )


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit / _MIB:g} MiB: send fewer texts at a time")


def _why_not_json(
    body: bytes, content_type: str, error: orjson.JSONDecodeError
) -> InvalidRequest | UnsupportedMediaType:
    """The reason a person can act on; only failures pay for finding it."""
    if not body.strip():
        return InvalidRequest("The body is empty: send a JSON object")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as second:
        if content_type and "json" not in content_type.casefold():
            return UnsupportedMediaType(f"The body must be JSON (application/json), not {content_type[:100]!r}")
        if not isinstance(second, json.JSONDecodeError):
            return InvalidRequest("The body is not valid JSON: it must be UTF-8, and not nested deeply")
        return InvalidRequest(f"The body is not valid JSON: {second.msg} (line {second.lineno}, column {second.colno})")
    return InvalidRequest(*_half_character(value) or (f"The body is not valid JSON: {error.msg}",))


def _half_character(value: object) -> tuple[str] | None:
    """Where a lone surrogate stands, which the strict parser refuses and Python's own lets through."""
    for where, text in _strings(value):
        at = next((i for i, char in enumerate(text) if "\ud800" <= char <= "\udfff"), None)
        if at is not None:
            return (
                f"{where[:_SHOWN_CHARS]} holds half of a character (the lone surrogate U+{ord(text[at]):04X} at "
                f"position {at}), which is no valid Unicode: a text was cut inside an emoji; remove or complete it",
            )
    return None


def _strings(value: object) -> Iterator[tuple[str, str]]:
    """Every string, keys included, and where it stands. No recursion: the strict parser refuses deep nesting too."""
    pending: list[tuple[str, object]] = [("", value)]
    while pending:
        where, found = pending.pop()
        if isinstance(found, str):
            yield where, found
        elif isinstance(found, dict):
            yield from ((f"a key of {where or 'the body'}", key) for key in found)
            pending += [(f"{where}.{key}" if where else key, child) for key, child in found.items()]
        elif isinstance(found, list):
            pending += [(f"{where}[{index}]", child) for index, child in enumerate(found)]


def kind_of(value: object) -> str:
    """What a JSON value is, in words for an error."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:40] + "…")
    return "a list" if isinstance(value, list) else "an object"
