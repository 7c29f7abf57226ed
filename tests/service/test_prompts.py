"""Which prefix a text gets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sekisho.catalog.registry import Spec
from sekisho.errors import InvalidRequest
from sekisho.service.prompts import KINDS, prompt_for, with_prompt

RURI = {"query": "検索クエリ: ", "document": "検索文書: "}
TASK = {"query": "Instruct: {task}\nQuery: ", "document": "", "task": "Find the passage that answers"}


def a_spec(prompts: dict[str, str] | None = None, **more: Any) -> Spec:
    return Spec.model_validate({"name": "m", "source": {"path": "m"}, "prompts": prompts or {}, **more})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("query", "検索クエリ: "),
        ("document", "検索文書: "),
        ("passage", "検索文書: "),
        ("search_query", "検索クエリ: "),
        ("search_document", "検索文書: "),
        ("retrieval.query", "検索クエリ: "),
        ("retrieval.passage", "検索文書: "),
        (None, ""),
    ],
)
def test_every_dialects_word_finds_its_prompt(kind: str | None, expected: str) -> None:
    assert prompt_for(a_spec(RURI), kind) == expected


def test_a_name_of_the_registry_wins_over_the_dialects() -> None:
    spec = a_spec({"passage": "mine: ", "document": "doc: "})
    assert prompt_for(spec, "passage") == "mine: "
    assert prompt_for(spec, "search_document") == "doc: "


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_prompts_takes_every_known_kind(kind: str) -> None:
    assert prompt_for(a_spec(), kind) == ""


def test_a_kind_the_model_has_no_prompt_for_names_those_it_has() -> None:
    with pytest.raises(InvalidRequest, match="query, document") as refused:
        prompt_for(a_spec(RURI), "clustering")
    assert refused.value.param == "input_type"
    assert "'clustering'" in refused.value.message


@pytest.mark.parametrize("kind", ["nonsense", "", "QUERY ", "task"])
def test_an_unknown_kind_names_the_known_ones(kind: str) -> None:
    with pytest.raises(InvalidRequest, match=r"query, document\b"):
        prompt_for(a_spec(RURI), kind)
    with pytest.raises(InvalidRequest, match=r"Known: query, document"):
        prompt_for(a_spec(TASK), kind)
    with pytest.raises(InvalidRequest, match="search_query"):
        prompt_for(a_spec(), kind)


def test_the_default_prompt_is_used_where_nothing_is_asked() -> None:
    spec = a_spec(RURI, default_prompt="document")
    assert prompt_for(spec, None) == "検索文書: "
    assert prompt_for(spec, None, apply_prefix=False, single=True) == "検索文書: "
    assert prompt_for(spec, "query") == "検索クエリ: "


def test_apply_prefix_goes_by_the_shape_of_the_input_and_yields_to_a_kind() -> None:
    spec = a_spec(RURI)
    assert prompt_for(spec, None, apply_prefix=True, single=True) == "検索クエリ: "
    assert prompt_for(spec, None, apply_prefix=True, single=False) == "検索文書: "
    assert prompt_for(spec, "document", apply_prefix=True, single=True) == "検索文書: "
    assert prompt_for(a_spec(), None, apply_prefix=True, single=True) == ""


def test_an_instruction_fills_the_slot() -> None:
    spec = a_spec(TASK)
    assert prompt_for(spec, "query") == "Instruct: Find the passage that answers\nQuery: "
    assert prompt_for(spec, "query", instruction="Find jokes") == "Instruct: Find jokes\nQuery: "


@pytest.mark.parametrize(("prompts", "kind"), [(RURI, "query"), (TASK, "document"), ({}, None), (RURI, None)])
def test_an_instruction_without_a_slot_is_refused(prompts: dict[str, str], kind: str | None) -> None:
    with pytest.raises(InvalidRequest, match="instruction") as refused:
        prompt_for(a_spec(prompts), kind, instruction="Find jokes")
    assert refused.value.param == "instruction"


@given(st.text(max_size=20), st.text(max_size=50))
def test_a_prompt_is_there_exactly_once_and_the_text_is_kept(prompt: str, text: str) -> None:
    prompted, chars = with_prompt(prompt, text)
    assert prompted[:chars] == prompt
    assert prompted in {text, prompt + text}
    assert with_prompt(prompt, prompted) == (prompted, chars)


@given(st.text(min_size=1, max_size=20), st.text(max_size=50))
def test_a_prompt_is_never_doubled(prompt: str, text: str) -> None:
    assume(not text.startswith(prompt))
    prompted, _ = with_prompt(prompt, text)
    assert prompted == prompt + text
    assert with_prompt(prompt, prompted)[0] == prompted
