"""Tokenizers without a tokenizer.json: words (MeCab), then pieces (WordPiece, characters or SentencePiece)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer
from tokenizers.models import WordPiece

from sekisho.contract import SENTENCEPIECE_FILE, VOCABULARY_FILE, AddedToken, Subwords
from sekisho.errors import ConversionFailed
from sekisho.runtime.clip import AwayFromCut, Rule, before_space, no_piece_across, whole
from sekisho.runtime.framing import frames_of
from sekisho.runtime.mecab import Mecab
from sekisho.runtime.normalization import missing
from sekisho.runtime.spelling import Piece, joined

_SPACE = "▁"
_FAIRSEQ = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
_WORDS_CACHED = 1 << 15
#: Tokens between a cut and what is kept, at least.
_MARGIN = 128


class Pieces(Protocol):
    """vocabulary: every token and its id, those that were added aside."""

    vocabulary: dict[str, int]

    def of_words(self, words: list[str]) -> list[int]: ...


class SubwordTokenizer:
    """The steps of `Subwords`, one after the other."""

    def __init__(self, directory: Path, limit: int) -> None:
        """`limit`: the most tokens that are kept of a text.

        Raises ConversionFailed where a file is missing or no vocabulary, or an extra is not installed."""
        try:
            rules = Subwords.read(directory)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ConversionFailed(f"the prepared tokenizer cannot be read: {error}") from None
        self._rules = rules
        self._pieces = _pieces(directory, rules)
        self._mecab = None if rules.dictionary is None else Mecab(rules.dictionary)
        self._added = _with_ids(rules.added, self._pieces.vocabulary)
        known = self._pieces.vocabulary | {content: token_id for content, (token_id, _) in self._added.items()}
        self.name = VOCABULARY_FILE if rules.pieces in {"wordpiece", "character"} else SENTENCEPIECE_FILE
        self._names = {token_id: content for content, token_id in known.items()}
        self.ids = max(self._names, default=-1) + 1
        for content in (rules.opening, rules.closing):
            if content not in known:
                raise ConversionFailed(f"{self.name} has no token {content!r}")
        self.unknown = known.get(rules.unknown)
        self.single, self.pair = frames_of(rules, known[rules.opening], known[rules.closing])
        self.clip: Rule = AwayFromCut(max(limit, _MARGIN))
        if isinstance(self._pieces, SentencePieces) and self._mecab is None:
            across = any(re.search(r"[\s▁]", content) for content in self._added)
            self.clip = whole if across else self._pieces.clip
        self._tokens = _alternatives(self._added)
        kept = [each for each, (_, token) in self._added.items() if token.special or token.normalized]
        self._kept = _alternatives(kept)

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [self._encode(text) for text in texts]

    def pieces(self, text: str) -> list[Piece]:
        """The text's own tokens; MeCab and NFKC keep no account of places."""
        return [Piece(token_id, self.name_of(token_id)) for token_id in self._encode(text)]

    def name_of(self, token_id: int) -> str:
        """A token as the vocabulary writes it."""
        return self._names.get(token_id, "")

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """The text that these tokens stand for."""
        special = {self._added[content][0] for content in self._added if self._added[content][1].special}
        kept = [token_id for token_id in ids if not (skip_special and token_id in special)]
        return joined([self.name_of(token_id) for token_id in kept], self._rules.pieces)

    def _encode(self, text: str) -> list[int]:
        text.encode()  # half a surrogate pair is told here, as the one error it is
        if self._rules.lower:
            text = "".join(
                part if number % 2 else "".join(map(str.lower, part))  # by character: Σ has two small forms
                for number, part in enumerate(self._kept.split(text))
            )
        ids: list[int] = []
        for part in self._parts(text):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._pieces.of_words(self._words(part))
        return ids

    def _parts(self, text: str) -> Iterator[str | int]:
        """Text without added tokens, and the ids of those, in their order."""
        parts = self._tokens.split(text)  # text, token, text, …, text
        for number in range(1, len(parts), 2):
            _, token = self._added[parts[number]]
            before, after = parts[number - 1], parts[number + 1]
            if token.rstrip:
                parts[number + 1] = after.lstrip()
            if token.lstrip:
                parts[number - 1] = before.rstrip()
        for number, part in enumerate(parts):
            if part:
                yield self._added[part][0] if number % 2 else part

    def _words(self, text: str) -> list[str]:
        if self._mecab is None:
            return [text]
        if self._rules.nfkc:
            text = unicodedata.normalize("NFKC", text)
        words = self._mecab.words(text)
        if not self._rules.lower:
            return words
        special = {each for each, (_, token) in self._added.items() if token.special}
        kept = special.union(self._rules.never_split)
        return [word if word in kept else word.lower() for word in words]


class WordPieces:
    """Greedy longest pieces of each word, by the library's own model."""

    def __init__(self, path: Path, unknown: str) -> None:
        self.vocabulary = _read_vocabulary(path, unknown)
        self._model = Tokenizer(WordPiece(self.vocabulary, unk_token=unknown))

    def of_words(self, words: list[str]) -> list[int]:
        split = " ".join(words).split()
        if not split:
            return []
        return list(self._model.encode(split, is_pretokenized=True, add_special_tokens=False).ids)


class Characters:
    """Each character of each word."""

    def __init__(self, path: Path, unknown: str) -> None:
        self.vocabulary = _read_vocabulary(path, unknown)
        self._unknown = self.vocabulary[unknown]

    def of_words(self, words: list[str]) -> list[int]:
        return [
            self.vocabulary.get(character, self._unknown)
            for word in words
            for character in unicodedata.normalize("NFKC", word)
        ]


class SentencePieces:
    """SentencePiece's own library: conversions to other libraries' models differ in normalisation and in ties."""

    clip: Rule

    def __init__(self, path: Path, rules: Subwords) -> None:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError:
            raise missing("sentencepiece", "this model's tokenizer", "sentencepiece") from None
        try:
            self._model: Any = SentencePieceProcessor(model_proto=path.read_bytes())
        except (OSError, RuntimeError) as error:
            raise ConversionFailed(f"{path.name} is not a readable SentencePiece model: {error}") from None
        own = [str(self._model.id_to_piece(index)) for index in range(self._model.get_piece_size())]
        self._unknown = int(self._model.unk_id())
        self._shift = 1 if rules.pieces == "fairseq" else 0
        if rules.pieces == "fairseq":
            numbered = {piece: index + 1 for index, piece in enumerate(own) if index > 2}
            self.vocabulary = numbered | _FAIRSEQ | {"<mask>": len(own) + 1}
            self._unknown_id = _FAIRSEQ["<unk>"]
        else:
            self.vocabulary = {piece: index for index, piece in enumerate(own)}
            self._unknown_id = self._unknown
        self.of_words: Callable[[list[str]], list[int]] = self._of_text if rules.dictionary is None else self._of_words
        self._of_word = lru_cache(_WORDS_CACHED)(self._of_one_word)
        apart = self._model.encode("あ あ") != self._model.encode("ああ") and no_piece_across(own)
        line_ends = self._model.encode("あ\nあ") == self._model.encode("あ あ")
        self.clip = before_space(line_ends=line_ends, marks=True) if apart else whole

    def _of_text(self, texts: list[str]) -> list[int]:
        ids: list[int] = []
        for text in texts:
            own = self._model.encode(text)
            if self._unknown in own:
                # What is unknown here may, by its letters, still be a token that no text is cut into.
                ids += map(self._id, self._model.encode(text, out_type=str))
            else:
                ids += [index + self._shift for index in own] if self._shift else own
        return ids

    def _id(self, piece: str) -> int:
        return self.vocabulary.get(piece, self._unknown_id)

    def _of_words(self, words: list[str]) -> list[int]:
        return [token for word in words for token in self._of_word(word)]

    def _of_one_word(self, word: str) -> tuple[int, ...]:
        """As ALBERT's tokenizer cuts a text: TeX's quotes are one, and a comma after a digit is a token of its own."""
        text = " ".join(word.split()).replace("``", '"').replace("''", '"')
        return tuple(map(self._id, self._commas_apart(self._model.encode(text, out_type=str))))

    def _commas_apart(self, pieces: Iterable[str]) -> Iterator[str]:
        for piece in pieces:
            if not (len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit()):
                yield piece
                continue
            number = self._model.encode(piece[:-1].replace(_SPACE, ""), out_type=str)
            if not piece.startswith(_SPACE) and number[0].startswith(_SPACE):
                number[0] = number[0][1:]
            yield from filter(None, number)
            yield ","


def _pieces(directory: Path, rules: Subwords) -> Pieces:
    if rules.pieces == "wordpiece":
        return WordPieces(directory / VOCABULARY_FILE, rules.unknown)
    if rules.pieces == "character":
        return Characters(directory / VOCABULARY_FILE, rules.unknown)
    return SentencePieces(directory / SENTENCEPIECE_FILE, rules)


def _read_vocabulary(path: Path, unknown: str) -> dict[str, int]:
    """One token a line, whose number is its id."""
    try:
        with path.open(encoding="utf-8") as lines:
            vocabulary = {line.rstrip("\n"): number for number, line in enumerate(lines)}
    except (OSError, UnicodeError) as error:
        raise ConversionFailed(f"{path.name} is not a readable vocabulary: {error}") from None
    if unknown not in vocabulary:
        raise ConversionFailed(f"{path.name} has no token {unknown!r}")
    return vocabulary


def _with_ids(added: Iterable[AddedToken], vocabulary: dict[str, int]) -> dict[str, tuple[int, AddedToken]]:
    """Those without an id take the vocabulary's or, if it has none, the next one that is free."""
    known: dict[str, int] = dict(vocabulary)
    tokens: dict[str, tuple[int, AddedToken]] = {}
    for token in added:
        if token.content in tokens:
            continue
        number = known.get(token.content, len(known)) if token.id is None else token.id
        known[token.content] = number
        tokens[token.content] = (number, token)
    return tokens


def _alternatives(tokens: Iterable[str]) -> re.Pattern[str]:
    """Any of these, the longest where several begin."""
    ordered = sorted((token for token in tokens if token), key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, ordered)) + ")")
