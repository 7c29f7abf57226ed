"""What a file of an API declares: how a call is put, and how its answer is read. Pure: no network, no clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sekisho.contract import Rows, Truncation

#: Header names are lower case.
Headers = Mapping[str, str]


class Garbage(ValueError):
    """An answer of status 200 that is not one: the message says what is wrong, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Texts:
    """One call for vectors.

    kind: what the texts are, in the service's own words; None: nothing is said.
    dimensions: the width asked for; None: the model's own. normalize: None: as the service does it.
    """

    model: str
    texts: tuple[str, ...]
    truncation: Truncation
    kind: str | None = None
    dimensions: int | None = None
    normalize: bool | None = None


@dataclass(frozen=True, slots=True)
class Pairs:
    """One call for scores: a query and its documents. document_tokens: at most so many of each are read."""

    model: str
    query: str
    documents: tuple[str, ...]
    truncation: Truncation
    document_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gave.

    rows: float32 [inputs, width] in the order asked; width is 1 for scores.
    tokens: None where the service does not say. truncated: how many inputs were cut, as far as it says.
    """

    rows: Rows
    tokens: int | None = None
    truncated: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """One route of a service.

    path: below `base_url`, its version first. body: the call as JSON values.
    read: (JSON values of the answer, its headers, how many inputs were sent) → Answer; raises Garbage.
    most: inputs that one call may hold; None: any number. most_chars: characters that it may hold.
    truncations: those the service can be asked for.
    """

    path: str
    body: Callable[[Any], dict[str, Any]]
    read: Callable[[Any, Headers, int], Answer]
    most: int | None = None
    most_chars: int | None = None
    truncations: frozenset[Truncation] = frozenset({"end", "none"})


@dataclass(frozen=True)
class Dialect:
    """One API.

    kinds: what it calls our kinds of text. default_kind: what is said where a request names none.
    logits: whether its scores are logits, which the sigmoid has yet to make scores of.
    takes_empty: whether "" is a text to it; else it is sent a space.
    too_many: reads the most inputs a call may hold out of an error's message.
    """

    name: str
    embed: Operation
    rerank: Operation
    kinds: Mapping[str, str] = field(default_factory=dict)
    default_kind: str | None = None
    logits: bool = False
    takes_empty: bool = False
    too_many: Callable[[str], int | None] = lambda _message: None
