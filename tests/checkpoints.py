"""Tiny random BERT checkpoints in the layout of sentence-transformers, made without torch.

The weights are uniform draws from PCG64 scaled with correctly rounded operations only, so every machine
writes the same bytes. They are far larger than trained weights: one wrong transpose, activation or epsilon
moves the outputs by much more than float32 rounding does.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

Weights = dict[str, NDArray[Any]]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ENGLISH_PIECES = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had "
    "an they which one you were all her she there would their we him been has when who will no more if "
    "out so up about what said how where weather movie dog cat man woman city train station planet red "
    "search query model text ##s ##ed ##ing ##er ##ly ##tion ##al ##est ##ment ##ness ##able ##ful"
)
JAPANESE_PUNCTUATION = "、。「」『』・ー〜？！（）：；"
# The kanji of the first two school years, and some of the vocabulary of search.
KANJI = (
    "一右雨円王音下火花貝学気九休玉金空月犬見五口校左三山子四糸字耳七車手十出女小上森人水正生青夕石赤千川先早草足村"
    "大男竹中虫町天田土二日入年白八百文木本名目立力林六"
    "引羽雲園遠何科夏家歌画回会海絵外角楽活間丸岩顔汽記帰弓牛魚京強教近兄形計元言原戸古午後語工公広交光考行高黄合谷"
    "国黒今才細作算止市矢姉思紙寺自時室社弱首秋週春書少場色食心新親図数西声星晴切雪船線前組走多太体台地池知茶昼長鳥"
    "朝直通弟店点電刀冬当東答頭同道読内南肉馬売買麦半番父風分聞米歩母方北毎妹万明鳴毛門夜野友用曜来里理話"
    "駅特急都府県検索章意味質問情報処機械習訳私彼変更送料返品無期限使利約束住所度湿温予定確認必要設件注済"
)


@dataclass(frozen=True)
class TinyBert:
    """One checkpoint. Sizes are in elements; `max_seq_length` counts tokens with [CLS] and [SEP]."""

    name: str
    seed: int
    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab: int
    positions: int
    type_vocab: int
    eps: float
    hidden_act: str = "gelu"
    pooling: Literal["mean", "cls", "max"] = "mean"
    normalize: bool = True
    max_seq_length: int = 512
    dtype: Literal["float32", "float16"] = "float32"


TINY_BERTS = (
    TinyBert(
        name="tiny-bert-mean",
        seed=11,
        layers=3,
        hidden=40,
        heads=5,
        intermediate=72,
        vocab=1021,
        positions=512,
        type_vocab=2,
        eps=1e-12,
        hidden_act="gelu",
        pooling="mean",
        normalize=True,
        max_seq_length=512,
    ),
    TinyBert(
        name="tiny-bert-cls",
        seed=12,
        layers=2,
        hidden=36,
        heads=3,
        intermediate=100,
        vocab=941,
        positions=130,
        type_vocab=1,
        eps=1e-3,
        hidden_act="gelu_new",
        pooling="cls",
        normalize=False,
        max_seq_length=128,
    ),
    TinyBert(
        name="tiny-bert-max",
        seed=13,
        layers=1,
        hidden=24,
        heads=2,
        intermediate=20,
        vocab=907,
        positions=64,
        type_vocab=3,
        eps=1e-12,
        hidden_act="relu",
        pooling="max",
        normalize=True,
        max_seq_length=64,
        dtype="float16",
    ),
)


def write_tiny_bert(spec: TinyBert, directory: str | Path) -> Path:
    """Write `spec` as a sentence-transformers directory and return that directory."""
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    _write_json(root / "config.json", _model_config(spec))
    save_file(tiny_bert_weights(spec), root / "model.safetensors", metadata={"format": "pt"})
    tiny_tokenizer(spec.vocab).save(str(root / "tokenizer.json"))
    _write_json(root / "tokenizer_config.json", _tokenizer_config(spec))
    _write_json(root / "modules.json", _modules(spec))
    _write_json(root / "sentence_bert_config.json", {"max_seq_length": spec.max_seq_length, "do_lower_case": False})
    (root / "1_Pooling").mkdir(exist_ok=True)
    _write_json(root / "1_Pooling" / "config.json", _pooling_config(spec))
    if spec.normalize:
        (root / "2_Normalize").mkdir(exist_ok=True)
    return root


def tiny_bert_weights(spec: TinyBert) -> Weights:
    """The tensors under the names transformers' BertModel saves; matrices are [out, in]."""
    draw = Draw(spec.seed, spec.dtype)
    weights: Weights = {}
    weights["embeddings.word_embeddings.weight"] = draw.around(0.0, 1.7, (spec.vocab, spec.hidden))
    weights["embeddings.position_embeddings.weight"] = draw.around(0.0, 0.5, (spec.positions, spec.hidden))
    weights["embeddings.token_type_embeddings.weight"] = draw.around(0.0, 0.5, (spec.type_vocab, spec.hidden))
    weights |= draw.layer_norm("embeddings.LayerNorm", spec.hidden)
    for index in range(spec.layers):
        prefix = f"encoder.layer.{index}"
        # Sharp attention: with small logits all rows are near the mean and a wrong scale hardly shows.
        weights |= draw.linear(f"{prefix}.attention.self.query", spec.hidden, spec.hidden, gain=1.5)
        weights |= draw.linear(f"{prefix}.attention.self.key", spec.hidden, spec.hidden, gain=1.5)
        weights |= draw.linear(f"{prefix}.attention.self.value", spec.hidden, spec.hidden)
        weights |= draw.linear(f"{prefix}.attention.output.dense", spec.hidden, spec.hidden)
        weights |= draw.layer_norm(f"{prefix}.attention.output.LayerNorm", spec.hidden)
        weights |= draw.linear(f"{prefix}.intermediate.dense", spec.intermediate, spec.hidden)
        weights |= draw.linear(f"{prefix}.output.dense", spec.hidden, spec.intermediate)
        # The maximum over many tokens is positive everywhere, so all texts would look alike: shift it.
        last_of_max = spec.pooling == "max" and index == spec.layers - 1
        weights |= draw.layer_norm(f"{prefix}.output.LayerNorm", spec.hidden, shift=-1.7 if last_of_max else 0.0)
    weights |= draw.linear("pooler.dense", spec.hidden, spec.hidden)
    return weights


class Draw:
    """Draws tensors, in the order asked for."""

    def __init__(self, seed: int, dtype: str = "float32") -> None:
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._dtype = np.dtype(dtype)

    def around(self, centre: float, reach: float, shape: tuple[int, ...]) -> NDArray[Any]:
        """Uniform in [centre - reach, centre + reach)."""
        return (centre + reach * (2.0 * self._rng.random(shape) - 1.0)).astype(self._dtype)

    def linear(self, name: str, out: int, inner: int, gain: float = 1.0, *, bias: bool = True) -> Weights:
        """A layer whose outputs have about `gain` times the spread of its inputs."""
        reach = gain * sqrt(3.0 / inner)
        weights = {f"{name}.weight": self.around(0.0, reach, (out, inner))}
        return weights | ({f"{name}.bias": self.around(0.0, 0.4, (out,))} if bias else {})

    def layer_norm(self, name: str, width: int, shift: float = 0.0, *, bias: bool = True) -> Weights:
        weights = {f"{name}.weight": self.around(1.0, 0.4, (width,))}
        return weights | ({f"{name}.bias": self.around(shift, 0.4, (width,))} if bias else {})


@dataclass(frozen=True)
class Marks:
    """A tokenizer's special tokens by id, and how it frames one text and two."""

    tokens: tuple[str, ...]
    unknown: str
    single: str
    pair: str


BERT_MARKS = Marks(SPECIAL_TOKENS, "[UNK]", "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")


def tiny_tokenizer(size: int, marks: Marks = BERT_MARKS) -> Tokenizer:
    """An uncased WordPiece tokenizer of `size` entries, without truncation or padding."""
    vocabulary = _vocabulary(size, marks.tokens)
    tokenizer = Tokenizer(WordPiece(vocab=vocabulary, unk_token=marks.unknown, max_input_chars_per_word=100))
    tokenizer.add_special_tokens(list(marks.tokens))
    tokenizer.normalizer = BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single=marks.single,
        pair=marks.pair,
        special_tokens=[(token, vocabulary[token]) for token in marks.tokens if token in marks.pair],
    )
    return tokenizer


def _vocabulary(size: int, specials: tuple[str, ...]) -> dict[str, int]:
    """Pieces by id, filled up to `size` with [unusedN] as BERT's own vocabularies are."""
    spoken = [*map(chr, range(ord("a"), ord("z") + 1)), *map(chr, range(ord("0"), ord("9") + 1)), *_kana()]
    ascii_punctuation = [chr(code) for code in range(0x21, 0x7F) if not chr(code).isalnum()]
    pieces = [
        *specials,
        *ascii_punctuation,
        *JAPANESE_PUNCTUATION,
        *spoken,
        *(f"##{character}" for character in spoken),
        "##ー",
        *KANJI,
        *ENGLISH_PIECES.split(),
    ]
    distinct = list(dict.fromkeys(pieces))
    if len(distinct) > size:
        raise ValueError(f"a vocabulary of {size} is too small: {len(distinct)} pieces are needed")
    distinct += [f"[unused{number}]" for number in range(size - len(distinct))]
    return {piece: index for index, piece in enumerate(distinct)}


def _kana() -> list[str]:
    """Hiragana and katakana as they are after the normalizer, which strips the voicing marks."""
    blocks = [*range(0x3041, 0x3097), *range(0x30A1, 0x30FB)]
    return [chr(code) for code in blocks if unicodedata.normalize("NFD", chr(code)) == chr(code)]


def _model_config(spec: TinyBert) -> dict[str, object]:
    return {
        "architectures": ["BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": spec.hidden_act,
        "hidden_dropout_prob": 0.1,
        "hidden_size": spec.hidden,
        "initializer_range": 0.02,
        "intermediate_size": spec.intermediate,
        "layer_norm_eps": spec.eps,
        "max_position_embeddings": spec.positions,
        "model_type": "bert",
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.layers,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "torch_dtype": spec.dtype,
        "type_vocab_size": spec.type_vocab,
        "vocab_size": spec.vocab,
    }


def _tokenizer_config(spec: TinyBert) -> dict[str, object]:
    return {
        "cls_token": "[CLS]",
        "do_lower_case": True,
        "mask_token": "[MASK]",
        "model_max_length": spec.positions,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
        "unk_token": "[UNK]",
    }


def _modules(spec: TinyBert) -> list[dict[str, object]]:
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    if spec.normalize:
        kinds.append(("2_Normalize", "Normalize"))
    return [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]


def _pooling_config(spec: TinyBert) -> dict[str, object]:
    return {
        "word_embedding_dimension": spec.hidden,
        "pooling_mode_cls_token": spec.pooling == "cls",
        "pooling_mode_mean_tokens": spec.pooling == "mean",
        "pooling_mode_max_tokens": spec.pooling == "max",
        "pooling_mode_mean_sqrt_len_tokens": False,
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
