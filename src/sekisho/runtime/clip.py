"""How much of a very long text surely decides the tokens that are kept.

A rule is exact: the tokens that are kept of a part are those that the whole text would give. A tokenizer that has no
such rule gets the whole text. MeCab, which cannot be given it, is the exception: `AwayFromCut`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sekisho.contract import Truncation

#: Told a text, a number of characters and which end is cut: the part to tokenise, and how many tokens at its cut differ
#: at most from the whole text's. None: no part will do.
Rule = Callable[[str, int, Truncation], tuple[str, int] | None]

#: A place is looked for in this many characters; if there is none, more of the text is taken.
_WINDOW = 4096

#: Letters that stand for themselves in every normal form and join with nothing beside them.
_LETTER = "0-9A-Za-z\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff"
_MARK = "。、．，.,!?！？」』）)"

#: Regular expressions of byte-level tokenizers in which a letter or digit and the white space after it never share a
#: match, and nothing looks behind: GPT-2's, cl100k's, Qwen's and Llama 3's.
_LETTERS_APART = frozenset(
    {
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        *(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
            + digits
            + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            for digits in (r"\p{N}", r"\p{N}{1,3}")
        ),
    }
)

_SPACES = frozenset({" ", "  ", " {2,}", r"\s+", r"\s"})


def whole(_text: str, _size: int, _truncation: Truncation) -> None:
    """For tokenizers that have no rule."""
    return


@dataclass(frozen=True)
class ByWord:
    """For tokenizers that split into words which do not depend on their neighbours: a cut changes one word."""

    longest_word: int

    def __call__(self, text: str, size: int, truncation: Truncation) -> tuple[str, int]:
        return text[:size] if truncation == "end" else text[len(text) - size :], self.longest_word


@dataclass(frozen=True)
class AwayFromCut:
    """For MeCab, which weighs a text as a whole, takes a kilobyte a character and breaks down at some length.

    No part surely gives what the whole would; but words sway each other over a few words, not over as many as a model
    reads. `margin` is how many tokens are read only to keep the cut away from those that are kept.
    """

    margin: int

    def __call__(self, text: str, size: int, truncation: Truncation) -> tuple[str, int]:
        return text[:size] if truncation == "end" else text[len(text) - size :], self.margin


@dataclass(frozen=True)
class BeforeSpace:
    """For tokenizers in which no token lies on both sides of a single space (or line end) between letters.

    What comes before it is then tokenised as it would be alone. Only for cuts at the end: after such a place a text
    that is alone may be given a space that it did not have.
    """

    place: re.Pattern[str]

    def __call__(self, text: str, size: int, truncation: Truncation) -> tuple[str, int] | None:
        if truncation != "end":
            return None
        last = None
        for last in self.place.finditer(text, max(0, size - _WINDOW), size):  # noqa: B007  # the last one is wanted
            pass
        return ("", 1) if last is None else (text[: last.end()], 1)


def before_space(*, line_ends: bool, marks: bool) -> BeforeSpace:
    """Two letters, white space, a letter; with `marks` the second letter may be punctuation."""
    spaces = "[ \\n]" if line_ends else " "
    return BeforeSpace(re.compile(f"[{_LETTER}][{_LETTER}{_MARK if marks else ''}](?={spaces}[{_LETTER}])"))


def rule_of(values: Mapping[str, Any], normalize: Callable[[str], str]) -> Rule:
    """The rule for a tokenizer.json. `normalize` is its own normaliser."""
    model = values.get("model") or {}
    splitter = values.get("pre_tokenizer")
    if model.get("type") == "WordPiece" and (splitter or {}).get("type") == "BertPreTokenizer":
        # A word over `max_input_chars_per_word` is one unknown token, so no word gives more tokens than that.
        return ByWord(int(model.get("max_input_chars_per_word", 100)))
    added = [str(token.get("content", "")) for token in values.get("added_tokens") or ()]
    if not _local(values.get("normalizer")) or any(re.search(r"[\s▁]", content) for content in added):
        return whole
    joined, spaced, lined = normalize("ああ"), normalize("あ あ"), normalize("あ\nあ")
    kind = _splits(splitter)
    if spaced == joined:
        return whole
    if kind == "letters":
        return before_space(line_ends=lined != joined, marks=False)
    if kind == "white space":
        return before_space(line_ends=lined != joined, marks=True)
    if kind == "spaces" or (kind == "none" and _no_token_across(_tokens(model))):
        return before_space(line_ends=lined == spaced, marks=True)
    return whole


def no_piece_across(pieces: Iterable[str]) -> bool:
    """Whether no piece of a SentencePiece model goes over the start of a word."""
    return not any(re.search("[^▁ ][▁ ]", piece) for piece in pieces)


def _no_token_across(tokens: list[str] | None) -> bool:
    return tokens is not None and "▁" in tokens and no_piece_across(tokens)


def _tokens(model: Mapping[str, Any]) -> list[str] | None:
    """A model's own tokens, where it is one that sees no further than they reach."""
    vocabulary = model.get("vocab") or ()
    if model.get("type") == "Unigram":
        return [str(token) for token, _ in vocabulary]
    if model.get("type") == "BPE" and not model.get("dropout"):
        return list(vocabulary)
    return None


def _local(normalizer: Mapping[str, Any] | None) -> bool:
    """Whether what a normaliser makes of letters and a space between them depends on nothing beside them."""
    if normalizer is None:
        return True
    kind = normalizer.get("type")
    if kind == "Sequence":
        return all(map(_local, normalizer.get("normalizers") or ()))
    if kind == "Replace":
        pattern = normalizer.get("pattern") or {}
        text = str(pattern.get("String", pattern.get("Regex", "")))
        return text in _SPACES or ("String" in pattern and text != "" and not re.search(rf"[\s▁{_LETTER}]", text))
    return kind in {
        "Precompiled", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "StripAccents", "Strip", "Prepend",
        "BertNormalizer",
    }  # fmt: skip


def _splits(splitter: Mapping[str, Any] | None) -> str | None:
    """Where a pre-tokenizer surely splits: at `white space`, at `spaces`, between `letters` and white space.

    `none`: nowhere, and the model sees all. None: it is not known.
    """
    if splitter is None:
        return "none"
    kind = splitter.get("type")
    if kind == "Sequence":
        parts = splitter.get("pretokenizers") or ()
        kinds = [_splits(part) for part in parts]
        # What is split stays so, whatever the later ones do to the parts.
        first = next((index for index, each in enumerate(kinds) if each != "none"), None)
        return "none" if first is None else kinds[first]
    if kind in {"WhitespaceSplit", "Whitespace", "BertPreTokenizer"}:
        return "white space"
    if kind == "Metaspace":
        return "spaces" if splitter.get("split", True) and splitter.get("replacement", "▁") == "▁" else "none"
    if kind == "ByteLevel" and splitter.get("use_regex", True):
        return "letters"
    if kind == "Split":
        pattern = splitter.get("pattern") or {}
        plain = splitter.get("behavior") == "Isolated" and not splitter.get("invert")
        return "letters" if plain and pattern.get("Regex") in _LETTERS_APART else None
    return None
