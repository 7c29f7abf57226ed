"""Which tokenizer a checkpoint has, what is copied of it, and what is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sekisho.contract import SENTENCEPIECE_FILE, SUBWORDS_FILE, TOKENIZER_FILE, VOCABULARY_FILE, Subwords
from sekisho.convert.tokenizers import TokenizerChoice, copy_tokenizer
from sekisho.errors import ConversionFailed
from tests.runtime.tokenizer_goldens import FOLDER


def checkpoint(tmp_path: Path, name: str, **config: Any) -> Path:
    source = shutil.copytree(FOLDER / name, tmp_path / "source")
    path = source / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | config), "utf-8")
    (tmp_path / "made").mkdir()
    return source


@pytest.mark.parametrize(
    ("name", "kind", "files"),
    [
        ("wordpiece", "bert_japanese", {SUBWORDS_FILE, VOCABULARY_FILE}),
        ("character", "bert_japanese", {SUBWORDS_FILE, VOCABULARY_FILE}),
        ("mecab-spm", "bert_japanese", {SUBWORDS_FILE, SENTENCEPIECE_FILE}),
        ("line", "bert_japanese", {SUBWORDS_FILE, SENTENCEPIECE_FILE}),
        ("mluke-bpe", "sentencepiece", {SUBWORDS_FILE, SENTENCEPIECE_FILE}),
        ("fast-bert", "tokenizer_json", {TOKENIZER_FILE}),
    ],
)
def test_each_kind_is_known_by_its_class(tmp_path: Path, name: str, kind: str, files: set[str]) -> None:
    source = checkpoint(tmp_path, name)
    assert copy_tokenizer(source, tmp_path / "made") == kind
    assert {path.name for path in (tmp_path / "made").iterdir()} == files


def test_a_class_in_python_alone_wins_over_a_tokenizer_json(tmp_path: Path) -> None:
    source = checkpoint(tmp_path, "wordpiece")
    shutil.copyfile(FOLDER / "fast-bert" / TOKENIZER_FILE, source / TOKENIZER_FILE)
    assert copy_tokenizer(source, tmp_path / "made") == "bert_japanese"


def test_models_yaml_wins_over_the_class(tmp_path: Path) -> None:
    source = checkpoint(tmp_path, "wordpiece")
    shutil.copyfile(FOLDER / "fast-bert" / TOKENIZER_FILE, source / TOKENIZER_FILE)
    assert copy_tokenizer(source, tmp_path / "made", "tokenizer_json") == "tokenizer_json"


def test_the_rules_survive_their_file(tmp_path: Path) -> None:
    source = checkpoint(tmp_path, "wordpiece-lower")
    copy_tokenizer(source, tmp_path / "made")
    rules = Subwords.read(tmp_path / "made")
    assert rules.lower
    assert rules.never_split == ("ABC",)
    assert rules.dictionary == "unidic_lite"
    rules.write(tmp_path)
    assert Subwords.read(tmp_path) == rules


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("wordpiece", {"word_tokenizer_type": "sudachi"}, "word_tokenizer_type is 'sudachi'; only mecab"),
        ("wordpiece", {"word_tokenizer_type": "basic"}, "word_tokenizer_type is 'basic'; only mecab"),
        ("wordpiece", {"subword_tokenizer_type": "byte"}, "subword_tokenizer_type is 'byte'"),
        ("wordpiece", {"do_word_tokenize": False}, "do_word_tokenize is False"),
        ("wordpiece", {"mecab_kwargs": {"mecab_dic": "neologd"}}, "mecab_dic is 'neologd'"),
        ("wordpiece", {"mecab_kwargs": {"mecab_dic": None}}, "mecab_dic is None"),
        ("wordpiece", {"mecab_kwargs": {"mecab_option": "-u user.dic"}}, "mecab_option is '-u user.dic'"),
        ("line", {"keep_accents": False}, "keep_accents is False"),
        ("line", {"remove_space": False}, "remove_space is False"),
        ("line", {"word_tokenizer_type": "jumanpp"}, "word_tokenizer_type is 'jumanpp'; only mecab"),
        ("mluke-bpe", {"sp_model_kwargs": {"enable_sampling": True}}, "sp_model_kwargs is .*enable_sampling"),
        ("mluke-bpe", {"mask_token": {"content": "<mask>", "single_word": True}}, "'<mask>' is single_word"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    tmp_path: Path, name: str, config: dict[str, Any], message: str
) -> None:
    source = checkpoint(tmp_path, name, **config)
    with pytest.raises(ConversionFailed, match=message):
        copy_tokenizer(source, tmp_path / "made")


@pytest.mark.parametrize(
    ("name", "file"),
    [("wordpiece", "vocab.txt"), ("mecab-spm", "spiece.model"), ("mluke-bpe", "sentencepiece.bpe.model")],
)
def test_a_missing_file_is_named(tmp_path: Path, name: str, file: str) -> None:
    source = checkpoint(tmp_path, name)
    (source / file).unlink()
    with pytest.raises(ConversionFailed, match=f"{file} is missing"):
        copy_tokenizer(source, tmp_path / "made")


def test_lines_class_is_not_guessed_at(tmp_path: Path) -> None:
    """Its defaults are in code that is not run. Words and pieces are the model's own; small letters are open."""
    source = checkpoint(tmp_path, "line")
    path = source / "tokenizer_config.json"
    config = json.loads(path.read_text("utf-8"))
    named = ("tokenizer_class", "do_lower_case")
    path.write_text(json.dumps({key: config[key] for key in named}), "utf-8")
    copy_tokenizer(source, tmp_path / "made")
    rules = Subwords.read(tmp_path / "made")
    assert (rules.pieces, rules.dictionary, rules.lower) == ("sentencepiece", "unidic_lite", True)
    path.write_text(json.dumps({"tokenizer_class": config["tokenizer_class"]}), "utf-8")
    with pytest.raises(ConversionFailed, match="no do_lower_case"):
        copy_tokenizer(source, tmp_path / "made")


def test_an_unknown_choice_is_refused(tmp_path: Path) -> None:
    choice: TokenizerChoice = "magic"  # type: ignore[assignment]  # what is tested
    with pytest.raises(ConversionFailed, match="tokenizer 'magic' is not known; known: auto, tokenizer_json"):
        copy_tokenizer(tmp_path, tmp_path, choice)
