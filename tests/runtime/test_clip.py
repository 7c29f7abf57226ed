"""Very long texts: what is kept of a part is what the whole would give, for each kind of tokenizer.json."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, UnigramTrainer

from sekisho.contract import TOKENIZER_FILE
from sekisho.runtime.clip import BeforeSpace, rule_of, whole
from sekisho.runtime.tokenizer import TextTokenizer
from tests.runtime.tokenizer_goldens import CONTRACT, FOLDER, ids, recorded, texts

LIMIT = 6
SPECIAL = ["<s>", "</s>", "<unk>", "<mask>"]
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PLAIN_METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}


def charsmap() -> bytes:
    """The normalisation table in a SentencePiece model: field 2 of field 3 of its protobuf."""
    return _field(_field((FOLDER / "mluke-unigram" / "sentencepiece.bpe.model").read_bytes(), 3), 2)


def _field(message: bytes, wanted: int) -> bytes:
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 2:
            size, place = _varint(message, place)
            if key >> 3 == wanted:
                return message[place : place + size]
            place += size
        elif kind == 0:
            _, place = _varint(message, place)
        else:
            place += struct.calcsize("d" if kind == 1 else "f")
    raise AssertionError(f"no field {wanted}")


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place


def unigram(normalizer: normalizers.Normalizer, splitter: pre_tokenizers.PreTokenizer | None) -> Tokenizer:
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizer
    if splitter is not None:
        tokenizer.pre_tokenizer = splitter
    return tokenizer


def xlm_roberta() -> Tokenizer:
    """As transformers converts it."""
    return unigram(
        normalizers.Sequence([normalizers.Precompiled(charsmap()), normalizers.Replace(Regex(" {2,}"), " ")]),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    )


def stripping() -> Tokenizer:
    return unigram(
        normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Strip(), normalizers.Lowercase()]),
        pre_tokenizers.Metaspace(),
    )


def unsplit() -> Tokenizer:
    """Japanese ones: the model sees whole sentences; no piece goes over the start of a word."""
    trained = unigram(normalizers.NFKC(), pre_tokenizers.Metaspace())
    _train(trained)
    trained.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return trained


def llama() -> Tokenizer:
    tokenizer = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    _train(tokenizer)
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def gpt2() -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def qwen() -> Tokenizer:
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


KINDS = {made.__name__: made for made in (xlm_roberta, stripping, unsplit, llama, gpt2, qwen)}


def _train(tokenizer: Tokenizer) -> None:
    if tokenizer.get_vocab_size() > 1:
        return
    lines = [line for text in texts() for line in text.split("\n")]
    alphabet = pre_tokenizers.ByteLevel.alphabet() if "ByteLevel" in str(tokenizer.pre_tokenizer) else []
    if isinstance(tokenizer.model, Unigram):
        tokenizer.train_from_iterator(
            lines, UnigramTrainer(vocab_size=4000, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
        )
    else:
        trainer = BpeTrainer(
            vocab_size=2500, special_tokens=SPECIAL, initial_alphabet=alphabet, limit_alphabet=1000, show_progress=False
        )
        tokenizer.train_from_iterator(lines, trainer)


@cache
def library(kind: str) -> Tokenizer:
    tokenizer = KINDS[kind]()
    _train(tokenizer)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return Tokenizer.from_str(tokenizer.to_str())  # scores are rounded when they are written, and ties fall otherwise


@pytest.fixture(scope="session")
def clipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextTokenizer]:
    made = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        library(kind).save(str(folder / TOKENIZER_FILE))
        made[kind] = TextTokenizer(folder, replace(CONTRACT, max_tokens=LIMIT))
    return made


WORDS = st.one_of(
    st.sampled_from(texts()),
    st.sampled_from(["the", "東京", "ab", "か\u3099", "ﾊﾞ", "<mask>", "</s>", "\u0600", "\u0301", "\u200d", "।", "🎉"]),
    st.text(max_size=12),
)
GAPS = st.sampled_from(["", " ", "\n", "  ", "\r\n", " \n", "。\n", "\u3000", "\t", " \u0301", "\u200b ", "'s "])
TEXTS = st.lists(st.tuples(WORDS, GAPS, st.integers(1, 12)), min_size=1, max_size=20).map(
    lambda parts: "".join((word + gap) * count for word, gap, count in parts)
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_a_clipped_text_gives_what_the_whole_would(clipped: dict[str, TextTokenizer], kind: str, text: str) -> None:
    whole_ids = library(kind).encode(text).ids
    cut = whole_ids if len(whole_ids) <= LIMIT else [*whole_ids[: LIMIT - 1], whole_ids[-1]]
    assert ids(clipped[kind], text) == cut


@pytest.mark.parametrize("kind", KINDS)
def test_five_megabytes_cost_what_their_first_part_does(
    clipped: dict[str, TextTokenizer], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = clipped[kind]
    read = recorded(own, monkeypatch)
    for line in ("the quick brown fox jumps over the lazy dog. ", "東京駅で 待って 昨日の会議は 短かった\n"):
        text = line * 100_000
        assert len(ids(own, text)) == LIMIT
        assert sum(map(len, read)) < 2000
        read.clear()


def test_every_kind_here_has_a_rule(clipped: dict[str, TextTokenizer]) -> None:
    assert all(isinstance(own._splitter.clip, BeforeSpace) for own in clipped.values())


@pytest.mark.parametrize(
    "change",
    [
        {"pre_tokenizer": {"type": "UnicodeScripts"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "a b"}, "behavior": "Isolated", "invert": False}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "UnicodeScripts"}, PLAIN_METASPACE]}},
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "a b"}, "content": "c"}},
        {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": ""}},
        {"pre_tokenizer": None, "model": {"type": "Unigram", "vocab": [["▁", 0.0], ["a▁b", 0.0]]}},
        {"pre_tokenizer": None, "model": {"type": "WordLevel", "vocab": {"▁": 0}}},
        {"added_tokens": [{"content": "a b"}]},
    ],
)
def test_what_is_not_known_to_be_exact_is_not_clipped(change: dict[str, object]) -> None:
    plain = {"model": {"type": "Unigram", "vocab": [["▁", 0.0]]}, "pre_tokenizer": PLAIN_METASPACE}
    assert rule_of(plain, str) is not whole
    changed = plain | change
    normalize = (lambda text: text.replace(" ", "")) if "''" in str(change).replace('""', "''") else str
    assert rule_of(changed, normalize) is whole


def test_the_first_tokenizers_rule_is_by_words(tmp_path: Path) -> None:
    stored = json.loads((FOLDER / "fast-bert" / TOKENIZER_FILE).read_text("utf-8"))
    assert rule_of(stored, str) is not whole
    stored["pre_tokenizer"] = {"type": "UnicodeScripts"}
    assert rule_of(stored, str) is whole
