"""The texts that everything is measured with."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from sekisho.bench.mix import Lengths, texts
from sekisho.contract import CONTRACT_FILE, Contract, Passage
from sekisho.runtime.tokenizer import TextTokenizer
from tests.goldens_io import MINILM


def test_the_same_seed_gives_the_same_texts() -> None:
    assert texts(200, seed=3) == texts(200, seed=3)
    assert texts(200, seed=3) != texts(200, seed=4)


def test_more_texts_begin_with_the_fewer() -> None:
    assert texts(300)[:100] == texts(100)


@pytest.mark.parametrize("lengths", [Lengths(), Lengths(median=2, sigma=0.3)])
def test_no_text_occurs_twice_and_none_is_empty(lengths: Lengths) -> None:
    made = texts(3000, lengths=lengths)
    assert len(set(made)) == 3000
    assert all(text.strip() == text and text for text in made)


def test_both_languages_are_there() -> None:
    english = sum(text.isascii() for text in texts(1000))
    assert 600 < english < 800


def test_a_model_that_reads_pages_gets_pages() -> None:
    made = texts(4000, lengths=Lengths(limit=8192))
    assert any(len(text) > 8000 for text in made)
    assert sum(len(text) > 4000 for text in made) < 40
    assert max(map(len, texts(4000, lengths=Lengths(limit=64)))) < 64 * 12


def test_lengths_are_those_of_real_texts(minilm_home: Path) -> None:
    (contract,) = minilm_home.glob(f"models/{MINILM}/*/{CONTRACT_FILE}")
    tokenizer = TextTokenizer(contract.parent, Contract.read(contract.parent))
    lengths = sorted(len(tokens) for tokens in tokenizer.encode([Passage(text) for text in texts(2000)], "end"))
    assert 35 < statistics.mean(lengths) < 47
    assert lengths[100] < 13
    assert 80 < lengths[1900] < 140
    assert lengths[-1] == 256
