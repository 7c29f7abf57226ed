"""Which prefix a text gets: pure functions of the registry's prompts and what the client asked for."""

from __future__ import annotations

from collections.abc import Mapping

from sekisho.catalog.registry import Spec
from sekisho.errors import InvalidRequest

#: What each dialect calls the kinds of the registry (OpenAI extensions, Cohere, Jina, Voyage).
KINDS: Mapping[str, str] = {
    "query": "query",
    "document": "document",
    "passage": "document",
    "classification": "classification",
    "clustering": "clustering",
    "sts": "sts",
    "search_query": "query",
    "search_document": "document",
    "retrieval.query": "query",
    "retrieval.passage": "document",
    "text-matching": "sts",
    "separation": "clustering",
}

_TASK_SLOT = "{task}"


def prompt_for(
    spec: Spec, kind: str | None, *, instruction: str | None = None, single: bool = False, apply_prefix: bool = False
) -> str:
    """The prefix for texts of this kind; "" for none.

    kind: `input_type` in any dialect's words, or the name of a prompt of the model.
    single, apply_prefix: where no kind came, `apply_ruri_prefix` takes one string for a query and a list for documents.

    Raises InvalidRequest for an unknown kind, one the model has no prompt for, or an instruction it has no place for.
    """
    name = kind_for(spec, kind, single=single, apply_prefix=apply_prefix)
    template = spec.prompts.get(name, "") if name is not None else ""
    if _TASK_SLOT in template:
        return template.replace(_TASK_SLOT, instruction or spec.prompts.get("task", ""))
    if instruction is not None:
        raise InvalidRequest(
            f"The model {spec.name!r} takes no instruction here: leave `instruction` out", param="instruction"
        )
    return template


def kind_for(spec: Spec, kind: str | None, *, single: bool = False, apply_prefix: bool = False) -> str | None:
    """What texts are, in the registry's words; None: nothing is said of them. Arguments and errors of `prompt_for`."""
    if kind is None:
        if apply_prefix and spec.prompts:
            return "query" if single else "document"
        return spec.default_prompt
    if kind in kinds_of(spec):
        return kind
    known = KINDS.get(kind)
    if known is None:
        raise InvalidRequest(
            f"`input_type` {kind!r} is not known. Known: {', '.join(kinds_of(spec) or KINDS)}", param="input_type"
        )
    # A model that was trained without prompts treats every kind alike, so a client that always names one is served.
    if spec.prompts and known not in spec.prompts:
        raise InvalidRequest(
            f"The model {spec.name!r} has no prompt for {kind!r}. It has: {', '.join(kinds_of(spec))}",
            param="input_type",
        )
    return known


def kinds_of(spec: Spec) -> list[str]:
    """What the registry has prompts for, or words of the service that runs the model."""
    elsewhere = spec.upstream.kinds if spec.upstream is not None else None
    return [name for name in (*spec.prompts, *(elsewhere or ())) if name != "task"]


def with_prompt(prompt: str, text: str) -> tuple[str, int]:
    """(the text with its prompt, length of the prompt in characters). A prompt already there is not added again."""
    return (text if text.startswith(prompt) else prompt + text), len(prompt)
