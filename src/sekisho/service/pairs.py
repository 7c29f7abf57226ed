"""What a model reads of a query and a document; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sekisho.catalog.registry import Spec, Template
from sekisho.contract import Passage, Truncation
from sekisho.errors import BodyTooLarge
from sekisho.service.prompts import prompt_for, with_prompt

_SLOT = re.compile(r"\{(task|query)\}")
_DOCUMENT = "{document}"
_MOST_QUERY_CHARS = 100_000_000

#: A query and a document.
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a request wants its pairs read. None means: as the registry says.

    instruction: what a document is looked for; models without a place for it read nothing of it.
    document_tokens: at most this many tokens of each document are read.
    field: the request's field that the documents came in, for errors.
    """

    truncation: Truncation | None = None
    instruction: str | None = None
    document_tokens: int | None = None
    field: str = "documents"


def pair_passages(spec: Spec, pairs: Sequence[Pair], reading: Reading) -> list[Passage]:
    """For a model that reads both at once: a cross-encoder, or a language model that is asked about them."""
    if spec.template is not None:
        return _asked(spec.template, pairs, reading)
    most, field = reading.document_tokens, reading.field
    return [Passage(query, pair=document, document_tokens=most, field=field) for query, document in pairs]


def _asked(template: Template, pairs: Sequence[Pair], reading: Reading) -> list[Passage]:
    """All before the document is the prompt of its text, so the document alone is cut.

    The body is one text, as Qwen3-Reranker's authors tokenise it: a query's last word and what follows may share a
    token. So the query is tokenised with each document here, unlike a cross-encoder's.
    """
    before, _, after = template.body.partition(_DOCUMENT)
    frame, task = (template.prefix, template.suffix), reading.instruction or template.task
    _check_size(pairs, reading)
    heads = {query: (_filled(before, query, task), _filled(after, query, task)) for query in {q for q, _ in pairs}}
    return [
        Passage(
            head + document + tail,
            len(head.rstrip()),  # the space behind it is part of the document's first token
            frame=frame,
            document_tokens=reading.document_tokens,
            field=reading.field,
        )
        for query, document in pairs
        for head, tail in [heads[query]]
    ]


def _check_size(pairs: Sequence[Pair], reading: Reading) -> None:
    """Query and instruction stand in every text: long ones with many documents would be more than any request."""
    if sum(len(query) for query, _ in pairs) + len(reading.instruction or "") * len(pairs) > _MOST_QUERY_CHARS:
        raise BodyTooLarge(
            f"The query is too long to be read with each of {len(pairs):,} texts: shorten it, or send fewer at a time",
            param=reading.field,
        )


def _filled(text: str, query: str, task: str) -> str:
    """In one go, so that a slot's name in a query stays what it is."""
    return _SLOT.sub(lambda slot: query if slot[1] == "query" else task, text)


def single_passages(spec: Spec, queries: Sequence[str], documents: Sequence[str], reading: Reading) -> list[Passage]:
    """For an embedding model: the documents, then the queries, each with its prompt."""
    asking, holding = (_prompt(spec, kind, reading.instruction) for kind in ("query", "document"))
    most, field = reading.document_tokens, reading.field
    return [
        *(
            Passage(*with_prompt(holding, text), document_tokens=most, field=field, kind="document")
            for text in documents
        ),
        *(Passage(*with_prompt(asking, text), field="query", kind="query") for text in queries),
    ]


def _prompt(spec: Spec, kind: str, instruction: str | None) -> str:
    """The model's own prompt for the kind, else its default one, else none."""
    name = kind if kind in spec.prompts else spec.default_prompt
    if name is None:
        return ""
    return prompt_for(spec, name, instruction=instruction if "{task}" in spec.prompts[name] else None)
