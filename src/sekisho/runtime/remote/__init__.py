"""A model served elsewhere: one file an API, and the rules of calling any of them."""

from __future__ import annotations

from collections.abc import Mapping

from sekisho.runtime.remote import cohere, jina, openai, sekisho, tei, vllm, voyage
from sekisho.runtime.remote.dialect import Dialect

DIALECTS: Mapping[str, Dialect] = {
    module.DIALECT.name: module.DIALECT for module in (openai, cohere, jina, voyage, tei, vllm, sekisho)
}
