"""mLUKE's and XLM-RoBERTa's SentencePiece models: transformers' ids, cuts that are exact, what is missing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.contract import Passage
from sekisho.errors import ConversionFailed, InvalidRequest
from tests.runtime.tokenizer_goldens import FOLDER, SENTENCEPIECE, from_files, ids, ids_of, recorded, texts, tokenizer

LIMIT = 8


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_every_text_has_transformers_ids(name: str) -> None:
    own = tokenizer(name)
    wrong = [text for text, golden in zip(texts(), ids_of(name), strict=True) if ids(own, text) != golden]
    assert wrong == []


@pytest.mark.parametrize("name", SENTENCEPIECE)
@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.sampled_from(texts()), st.sampled_from(["", " ", "\n", "  ", "\r\n", " \n", "。\n", "\u3000"])),
        min_size=6,
        max_size=40,
    )
)
def test_a_clipped_text_gives_what_the_whole_would(name: str, parts: list[tuple[str, str]]) -> None:
    text = "".join(text + gap for text, gap in parts)
    whole = ids(tokenizer(name), text)
    cut = whole if len(whole) <= LIMIT else [*whole[: LIMIT - 1], whole[-1]]
    assert ids(tokenizer(name, LIMIT), text) == cut


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_a_page_of_megabytes_costs_what_its_first_part_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tokenizer(name, 128)
    read = recorded(own, monkeypatch)
    text = "東京駅で待っています。\n昨日の会議は短かった。\n" * 50_000
    assert len(ids(own, text)) == 128
    assert sum(map(len, read)) < 4000


def test_xlm_roberta_without_a_tokenizer_json_is_the_same_without_the_entity_tokens(tmp_path: Path) -> None:
    source = shutil.copytree(FOLDER / "mluke-bpe", tmp_path / "source")
    (source / "tokenizer_config.json").write_text('{"tokenizer_class": "XLMRobertaTokenizer"}', "utf-8")
    own = from_files(source, tmp_path / "made")
    plain = [index for index, text in enumerate(texts()) if "<ent" not in text]
    assert [ids(own, texts()[index]) for index in plain] == [ids_of("mluke-bpe")[index] for index in plain]


def test_an_unknown_class_is_named(tmp_path: Path) -> None:
    source = shutil.copytree(FOLDER / "mluke-bpe", tmp_path / "source")
    for values in ({"tokenizer_class": "T5Tokenizer"}, {}):
        (source / "tokenizer_config.json").write_text(json.dumps(values), "utf-8")
        with pytest.raises(
            ConversionFailed, match=r"tokenizer\.json is missing.*(class T5Tokenizer|no tokenizer_class)"
        ):
            from_files(source, tmp_path / "made")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    for name in ("mluke-bpe", "mecab-spm"):
        with pytest.raises(ConversionFailed, match=r"sentencepiece.*pip install 'sekisho\[sentencepiece\]'"):
            tokenizer(name)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    source = shutil.copytree(FOLDER / "mluke-bpe", tmp_path / "source")
    (source / "sentencepiece.bpe.model").write_bytes(b"no model")
    with pytest.raises(ConversionFailed, match=r"sentencepiece\.model is not a readable SentencePiece model"):
        from_files(source, tmp_path / "made")


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_a_lone_surrogate_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"input\[0\] holds half"):
        tokenizer(name).encode([Passage("東\ud800")], "end")
