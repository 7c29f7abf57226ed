"""Documents in the forms clients send them: strings, and objects of which some fields are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sekisho.errors import InvalidRequest
from sekisho.http.bodies import kind_of

#: What a list of documents is, for OpenAPI.
DOCUMENTS_SCHEMA: dict[str, Any] = {
    "description": "Texts, or objects with a `text`",
    "type": "array",
    "minItems": 1,
    "items": {
        "anyOf": [
            {"type": "string"},
            {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}},
        ]
    },
}


@dataclass(frozen=True, slots=True)
class Documents:
    """texts: what is read of each; given: as the client sent them."""

    texts: list[str]
    given: list[Any]

    def as_object(self, index: int) -> dict[str, Any]:
        """The document as clients of Cohere read it back, with its `text`."""
        own = self.given[index]
        return {"text": self.texts[index]} | (own if isinstance(own, dict) else {})


def read_documents(value: object, field: str, fields: Sequence[str] | None = None) -> Documents:
    """`fields`: which of an object are read, in this order; None: its `text`. Cohere calls them `rank_fields`.

    Raises InvalidRequest that names the place.
    """
    if isinstance(value, str | dict):
        value = [value]
    if not isinstance(value, list):
        raise InvalidRequest(f"`{field}` must be a list of texts, not {kind_of(value)}", param=field)
    if not value:
        raise InvalidRequest(f"`{field}` is an empty list: send at least one", param=field)
    if all(type(item) is str for item in value):
        return Documents(value, value)
    return Documents([_read(item, index, field, fields) for index, item in enumerate(value)], value)


def _read(item: object, index: int, field: str, fields: Sequence[str] | None) -> str:
    if isinstance(item, str):
        return item
    if not isinstance(item, dict):
        raise InvalidRequest(
            f"{field}[{index}] must be a string or an object with a `text`, not {kind_of(item)}", param=field
        )
    if not fields:
        text = item.get("text")
        if not isinstance(text, str):
            raise InvalidRequest(
                f"{field}[{index}] has no `text`: send one, or name the fields to read in `rank_fields`", param=field
            )
        return text
    found = [name for name in fields if item.get(name) is not None]
    if not found:
        raise InvalidRequest(f"{field}[{index}] has none of the fields {', '.join(fields)}", param=field)
    if len(found) == 1:
        return _said(item[found[0]])
    return "\n".join(f"{name}: {_said(item[name])}" for name in found)


def _said(value: object) -> str:
    """A value as a line of YAML has it."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
