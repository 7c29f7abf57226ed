"""A key names everything that decides a result, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.catalog.registry import Spec
from sekisho.contract import Passage, Truncation
from sekisho.engine.result_key import KEY_BYTES, Keys, canonical, local_identity, upstream_identity
from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import Choice
from tests.engine.doubles import CONTRACT

#: Short texts of few characters, so that two passages are often nearly the same.
TEXTS = st.text("ab\0é東\ud800", max_size=4)
NUMBERS = st.none() | st.integers(0, 3)
PASSAGES = st.builds(
    Passage,
    text=TEXTS,
    prompt_chars=st.integers(0, 3),
    ids=st.none() | st.lists(st.integers(-1, 12), max_size=3).map(tuple),
    pair=st.none() | TEXTS,
    frame=st.none() | st.tuples(TEXTS, TEXTS),
    document_tokens=NUMBERS,
    field=st.sampled_from(["input", "documents"]),
    kind=st.none() | st.sampled_from(["query", "a", ""]),
    dimensions=NUMBERS,
)
#: What a passage's key leaves out: `field` is for errors alone, the others for models that run elsewhere.
OUTSIDE = {"field"}
ELSEWHERE = {"kind", "dimensions"}

CHOICE = Choice("onnxruntime", "fp32", lanes=2, threads=1, reason="a test")


def decided(passage: Passage, *, elsewhere: bool) -> Passage:
    """The passage without what does not matter."""
    passage = replace(passage, field="")
    return passage if elsewhere else replace(passage, kind=None, dimensions=None)


@given(PASSAGES, PASSAGES, st.booleans())
def test_two_passages_have_one_form_if_and_only_if_they_are_the_same(
    one: Passage, other: Passage, elsewhere: bool
) -> None:
    alike = canonical(one, elsewhere=elsewhere) == canonical(other, elsewhere=elsewhere)
    assert alike == (decided(one, elsewhere=elsewhere) == decided(other, elsewhere=elsewhere))


CHANGED: dict[str, Any] = {
    "text": "other", "prompt_chars": 1, "ids": (1,), "pair": "p", "frame": ("a", "b"), "document_tokens": 3,
    "field": "documents", "kind": "query", "dimensions": 2,
}  # fmt: skip


def test_every_field_of_a_passage_is_in_this_test() -> None:
    assert set(CHANGED) == {field.name for field in fields(Passage)}


@pytest.mark.parametrize("name", CHANGED)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_every_field_that_decides_changes_the_key(name: str, elsewhere: bool) -> None:
    keys = Keys(b"identity", elsewhere=elsewhere)
    before = Passage("text")
    changed = replace(before, **{name: CHANGED[name]})
    differs = name not in OUTSIDE and (elsewhere or name not in ELSEWHERE)
    assert (keys.of(before, "end") != keys.of(changed, "end")) == differs
    assert (keys.of_all([before], "end") != keys.of_all([changed], "end")) == differs


def test_truncation_and_identity_are_part_of_a_key() -> None:
    passage = Passage("text")
    made = {Keys(identity).of(passage, cut) for identity in (b"1", b"2") for cut in get_args(Truncation)}
    assert len(made) == 6
    assert {len(key) for key in made} == {KEY_BYTES}


@given(st.lists(PASSAGES, max_size=4), st.lists(PASSAGES, max_size=4))
def test_two_requests_have_one_key_if_and_only_if_they_are_the_same(one: list[Passage], other: list[Passage]) -> None:
    keys = Keys(b"identity", elsewhere=True)
    same = [decided(each, elsewhere=True) for each in one] == [decided(each, elsewhere=True) for each in other]
    assert (keys.of_all(one, "end") == keys.of_all(other, "end")) == same


def test_a_request_of_one_text_is_no_text() -> None:
    keys = Keys(b"identity")
    assert keys.of_all([Passage("a")], "end") != keys.of(Passage("a"), "end")


@pytest.mark.parametrize(
    "changed",
    [
        {"max_tokens": 128}, {"files": {"model.onnx": "0"}}, {"pooling": "cls"}, {"normalization": "nfkc"},
        {"numbers": "int8"}, {"special_tokens": False}, {"width": 7},
    ],
)  # fmt: skip
def test_another_contract_is_another_identity(changed: dict[str, Any]) -> None:
    """Its files' digests among it: another revision of a model shares nothing with this one."""
    before = local_identity(CONTRACT, CHOICE, this_machine())
    assert local_identity(replace(CONTRACT, **changed), CHOICE, this_machine()) != before


def test_engine_format_and_versions_are_part_of_the_identity_and_threads_are_not() -> None:
    machine = this_machine()
    before = local_identity(CONTRACT, CHOICE, machine)
    others = [
        (replace(CHOICE, engine="openvino"), machine),
        (replace(CHOICE, precision="bf16"), machine),
        (replace(CHOICE, rest="bf16"), machine),
        (CHOICE, replace(machine, onnxruntime="0")),
        (CHOICE, replace(machine, architecture="other")),
        (CHOICE, replace(machine, formats=frozenset({"OTHER"}))),
    ]
    assert before not in {local_identity(CONTRACT, *each) for each in others}
    same = replace(CHOICE, lanes=7, threads=9, reason="other")
    assert local_identity(CONTRACT, same, replace(machine, cores=99)) == before


def test_a_model_elsewhere_is_what_the_registry_says_of_it() -> None:
    upstream = {"api": "openai", "base_url": ["https://one.example/v1"], "model": "far"}
    one = Spec.model_validate({"name": "far", "upstream": upstream})
    other = Spec.model_validate({"name": "far", "upstream": upstream | {"model": "farther"}})
    assert upstream_identity(one) == upstream_identity(one.model_copy())
    assert upstream_identity(one) != upstream_identity(other)
