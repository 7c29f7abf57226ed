"""Names with a kind behind a colon."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.catalog.registry import Registry, load_registry
from sekisho.errors import ModelNotFound
from sekisho.service.model_names import find_model

_REGISTRY = """\
version: 1
defaults: {embedding: ruri}
aliases: {text-embedding-3-small: ruri}
models:
  - name: ruri
    aliases: [ruri-v3]
    source: {hub: cl-nagoya/ruri-v3-30m, revision: 18b60fb8c2b9df296fb4212bb7d23ef94e579cd3}
    prompts: {query: "q: ", document: "d: ", topic: "t: ", task: "x"}
  - {name: asking, source: {path: a}, prompts: {query: "q: "}}
  - {name: plain, source: {path: b}}
  - {name: ranker, kind: reranker, source: {path: c}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "models.yaml").write_text(_REGISTRY, "utf-8")
    return load_registry(tmp_path / "models.yaml")


@pytest.mark.parametrize(
    ("name", "model", "kind"),
    [
        ("ruri", "ruri", None),
        ("ruri:query", "ruri", "query"),
        ("ruri:document", "ruri", "document"),
        ("ruri-v3:document", "ruri", "document"),
        ("cl-nagoya/ruri-v3-30m:query", "ruri", "query"),
        ("CL-nagoya/Ruri-v3-30m:query", "ruri", "query"),
        ("text-embedding-3-small:query", "ruri", "query"),
        ("ruri:topic", "ruri", "topic"),
        ("ruri:search_query", "ruri", "query"),
        ("ruri:passage", "ruri", "document"),
        ("ruri:retrieval.query", "ruri", "query"),
        ("plain:query", "plain", "query"),
        ("plain:clustering", "plain", "clustering"),
        ("ranker", "ranker", None),
    ],
)
def test_every_kind_of_name_takes_a_kind_of_text(registry: Registry, name: str, model: str, kind: str | None) -> None:
    spec, found = find_model(registry, name)
    assert (spec.name, found) == (model, kind)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ruri:quary", "the prompts of 'ruri' are query, document, topic;"),
        ("ruri:", "the prompts of 'ruri' are query, document, topic;"),
        ("ruri:task", "the prompts of 'ruri' are query, document, topic;"),
        ("ruri:clustering", "the prompts of 'ruri' are query, document, topic;"),
        ("asking:document", "the prompts of 'asking' are query;"),
        ("ruri-v3:latest", "the prompts of 'ruri-v3' are query, document, topic;"),
        ("plain:latest", "'plain' does, and it has no prompts: leave `:latest` out"),
        ("ranker:query", "'ranker' does, and it has no prompts: leave `:query` out"),
        ("ruri:query:x", "the prompts of 'ruri' are"),
        ("rury:query", "Did you mean 'ruri'"),
        (":query", "does not exist"),
    ],
)
def test_a_suffix_that_is_no_kind_tells_those_there_are(registry: Registry, name: str, told: str) -> None:
    with pytest.raises(ModelNotFound) as raised:
        find_model(registry, name)
    assert told in raised.value.message
    assert raised.value.param == "model"
