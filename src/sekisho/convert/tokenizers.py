"""A checkpoint's tokenizer files → those of a prepared model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from sekisho.contract import (
    SENTENCEPIECE_FILE,
    TOKENIZER_FILE,
    VOCABULARY_FILE,
    AddedToken,
    Subwords,
    TokenizerKind,
)
from sekisho.convert.checkpoint import read_json
from sekisho.errors import ConversionFailed

TokenizerChoice = Literal["auto", "tokenizer_json", "bert_japanese", "mluke", "sentencepiece"]

_CONFIG = "tokenizer_config.json"
#: transformers' classes, in the order of what they are asked for here. Those of the first two have no tokenizer.json.
_CLASSES: dict[str, TokenizerChoice] = {
    "BertJapaneseTokenizer": "bert_japanese",
    "DistilBertJapaneseTokenizer": "bert_japanese",
    "MLukeTokenizer": "mluke",
    "XLMRobertaTokenizer": "sentencepiece",
    "XLMRobertaTokenizerFast": "sentencepiece",
}
_FAIRSEQ_MODEL, _PIECE_MODEL = "sentencepiece.bpe.model", "spiece.model"
_BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_ROBERTA = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>"}
#: The order in which transformers numbers those that the vocabulary lacks.
_ORDER = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def copy_tokenizer(
    source: Path, target: Path, choice: TokenizerChoice = "auto", frame: tuple[str, str] | None = None
) -> TokenizerKind:
    """Write what the serving side needs of the tokenizer in `source`, and say of which kind it is.

    frame: the tokens before and after a text, in place of those the tokenizer says.
    Raises ConversionFailed where there is none that is read here.
    """
    if choice not in get_args(TokenizerChoice):
        raise ConversionFailed(f"tokenizer {choice!r} is not known; known: {', '.join(get_args(TokenizerChoice))}")
    config = _config(source)
    kind = _kind(source, config) if choice == "auto" else choice
    if kind == "tokenizer_json":
        _copy(source, TOKENIZER_FILE, target, TOKENIZER_FILE)
        if frame:
            _reframe(target / TOKENIZER_FILE, *frame)
        return "tokenizer_json"
    if frame:
        raise ConversionFailed(f"{TOKENIZER_FILE} is missing from the checkpoint, and this family is read by it")
    if kind == "bert_japanese":
        _bert_japanese(source, target, config)
        return "bert_japanese"
    _fairseq(source, target, config, entities=kind == "mluke")
    return "sentencepiece"


def _reframe(path: Path, opening: str, closing: str) -> None:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        raise ConversionFailed(f"{path.name} is not a readable tokenizer: {error}") from None
    tokens = [(token, tokenizer.token_to_id(token)) for token in (opening, closing)]
    for token, number in tokens:
        if number is None:
            raise ConversionFailed(f"{path.name} has no token {token!r}, which goes around each text")
    tokenizer.post_processor = TemplateProcessing(
        single=f"{opening} $A {closing}", pair=f"{opening} $A $B {closing}", special_tokens=tokens
    )
    tokenizer.save(str(path))


def _kind(source: Path, config: Mapping[str, Any]) -> TokenizerChoice:
    """A class that transformers has in Python alone is used by it even where a tokenizer.json lies beside."""
    named = str(config.get("tokenizer_class") or "")
    kind = _CLASSES.get(named)
    if kind in {"bert_japanese", "mluke"}:
        return kind
    if (source / TOKENIZER_FILE).is_file():
        return "tokenizer_json"
    if kind is not None:
        return kind
    raise ConversionFailed(
        f"{TOKENIZER_FILE} is missing from the checkpoint, and {_CONFIG} names "
        f"{f'the class {named}' if named else 'no tokenizer_class'}: read without it are {', '.join(_CLASSES)}"
    )


def _config(source: Path) -> Mapping[str, Any]:
    values = read_json(source / _CONFIG) if (source / _CONFIG).is_file() else {}
    if not isinstance(values, dict):
        raise ConversionFailed(f"{_CONFIG} holds no JSON object")
    return values


def _bert_japanese(source: Path, target: Path, config: Mapping[str, Any]) -> None:
    _require(config, "do_word_tokenize", True)
    _require(config, "do_subword_tokenize", True)
    # The class of line-distilbert comes as code, which is not run: a copy of BertJapaneseTokenizer for SentencePiece.
    line = config.get("tokenizer_class") == "DistilBertJapaneseTokenizer"
    if line:
        _require(config, "keep_accents", True)
        _require(config, "remove_space", True)
        if "do_lower_case" not in config:
            raise ConversionFailed(f"{_CONFIG} has no do_lower_case, and what its class does then is in no public text")
    words = config.get("word_tokenizer_type", "mecab" if line else "basic")
    if words != "mecab":
        raise ConversionFailed(f"{_CONFIG}: word_tokenizer_type is {words!r}; only mecab is supported")
    mecab = config.get("mecab_kwargs") or {}
    dictionary = mecab.get("mecab_dic", "unidic_lite")
    if dictionary not in {"unidic_lite", "unidic", "ipadic"}:
        raise ConversionFailed(
            f"{_CONFIG}: mecab_dic is {dictionary!r}; MeCab dictionaries are read from the packages unidic-lite, "
            "unidic and ipadic"
        )
    if mecab.get("mecab_option"):
        raise ConversionFailed(f"{_CONFIG}: mecab_option is {mecab['mecab_option']!r}; no options of MeCab are passed")
    pieces = config.get("subword_tokenizer_type", "sentencepiece" if line else "wordpiece")
    if pieces == "sentencepiece":
        _copy(source, _PIECE_MODEL, target, SENTENCEPIECE_FILE)
    elif pieces in {"wordpiece", "character"}:
        _copy(source, "vocab.txt", target, VOCABULARY_FILE)
    else:
        raise ConversionFailed(
            f"{_CONFIG}: subword_tokenizer_type is {pieces!r}; wordpiece, character and sentencepiece are supported"
        )
    tokens = _special(source, config, _BERT)
    Subwords(
        pieces=pieces,
        opening=tokens["cls"].content,
        closing=tokens["sep"].content,
        unknown=tokens["unk"].content,
        doubled=False,
        added=tuple(_added(source, config, tokens, [])),
        dictionary=dictionary,
        nfkc=bool(mecab.get("normalize_text", True)),
        lower=bool(config.get("do_lower_case", False)),
        never_split=tuple(map(str, config.get("never_split") or ())),
    ).write(target)


def _fairseq(source: Path, target: Path, config: Mapping[str, Any], *, entities: bool) -> None:
    """The tokenizers of XLM-RoBERTa and of mLUKE, which adds two tokens to it that mark entities."""
    if config.get("sp_model_kwargs"):
        raise ConversionFailed(f"{_CONFIG}: sp_model_kwargs is {config['sp_model_kwargs']!r}; no options are passed")
    _copy(source, _FAIRSEQ_MODEL, target, SENTENCEPIECE_FILE)
    tokens = _special(source, config, _ROBERTA)
    if isinstance(config.get("mask_token", "<mask>"), str):
        tokens["mask"] = AddedToken(tokens["mask"].content, lstrip=True)
    more = [_token(config.get(f"entity_token_{n}"), content) for n, content in ((1, "<ent>"), (2, "<ent2>"))]
    Subwords(
        pieces="fairseq",
        opening=tokens["cls"].content,
        closing=tokens["sep"].content,
        unknown=tokens["unk"].content,
        doubled=True,
        added=tuple(_added(source, config, tokens, more if entities else [])),
    ).write(target)


def _require(config: Mapping[str, Any], key: str, wanted: bool) -> None:
    if config.get(key, wanted) is not wanted:
        raise ConversionFailed(f"{_CONFIG}: {key} is {config[key]!r}; only {wanted} is supported")


def _special(source: Path, config: Mapping[str, Any], defaults: Mapping[str, str]) -> dict[str, AddedToken]:
    """The special tokens by their role. special_tokens_map.json stands in where tokenizer_config.json is silent."""
    older = _older(source, config)
    return {
        role: _token(config.get(f"{role}_token") or older.get(f"{role}_token"), content)
        for role, content in defaults.items()
    }


def _older(source: Path, config: Mapping[str, Any]) -> Mapping[str, Any]:
    path = source / "special_tokens_map.json"
    return read_json(path) if path.is_file() and "added_tokens_decoder" not in config else {}


def _added(
    source: Path, config: Mapping[str, Any], special: Mapping[str, AddedToken], more: list[AddedToken]
) -> Iterator[AddedToken]:
    """Every token that is looked for in the text itself: with an id of its own, then the special ones."""
    contents = {token.content for token in special.values()} | {token.content for token in more}
    for number, value in (config.get("added_tokens_decoder") or {}).items():
        yield _token(value, "", int(number))
    path = source / "added_tokens.json"
    if path.is_file() and "added_tokens_decoder" not in config:
        for content, number in sorted(read_json(path).items(), key=lambda item: item[1]):
            known = content in contents
            yield AddedToken(str(content), int(number), special=known, normalized=not known)
    yield from (special[role] for role in _ORDER if role in special)
    more_special = config.get("additional_special_tokens") or _older(source, config).get("additional_special_tokens")
    for value in more_special or ():
        yield _token(value, "")
    yield from more


def _token(value: Any, content: str, number: int | None = None) -> AddedToken:
    """A token as transformers writes it: its content, or an object that says more."""
    if isinstance(value, dict):
        if value.get("single_word"):
            raise ConversionFailed(f"{_CONFIG}: the token {value.get('content')!r} is single_word, which is not read")
        return AddedToken(
            str(value.get("content", content)),
            number,
            lstrip=bool(value.get("lstrip")),
            rstrip=bool(value.get("rstrip")),
            special=bool(value.get("special", True)),
            normalized=bool(value.get("normalized")),
        )
    return AddedToken(str(value or content), number)


def _copy(source: Path, name: str, target: Path, new_name: str) -> None:
    if not (source / name).is_file():
        raise ConversionFailed(f"{name} is missing from the checkpoint, and its tokenizer needs it")
    shutil.copyfile(source / name, target / new_name)
