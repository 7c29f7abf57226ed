"""A seeded mix of texts as a search service sees them: short queries, paragraphs, long pages; English and Japanese.

Lengths are log-normal, as those of real texts are, with a tail up to the model's limit. No text occurs twice, so that
nothing that remembers answers could have one ready.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from sekisho.convert.gate_texts import passages

#: Tokens of an English word under BERT's English vocabulary, on these texts.
_TOKENS_A_WORD = 1.3
_ENGLISH = 0.7
#: Where a model reads more than `_PAGE` tokens, this share of the texts are pages of any length up to its limit.
_PAGE = 512
_PAGES = 0.005
#: Draws of a text that exists already, before it is made a word longer.
_DRAWS = 8


@dataclass(frozen=True)
class Lengths:
    """Half the texts are shorter than `median` tokens; `sigma` is of the logarithm; `limit`: the longest, in tokens."""

    median: float = 30
    sigma: float = 0.8
    limit: int = 256

    def draw(self, source: random.Random) -> int:
        if self.limit > _PAGE and source.random() < _PAGES:
            return round(math.exp(source.uniform(math.log(_PAGE), math.log(self.limit))))
        return min(self.limit, max(1, round(self.median * source.lognormvariate(0, self.sigma))))


#: About 41 tokens in the mean; what everything but memory is measured with.
USUAL = Lengths()


def texts(count: int, seed: int = 1, lengths: Lengths = USUAL) -> list[str]:
    """`count` different texts, the same ones for the same seed."""
    source = random.Random(seed)  # noqa: S311 - reproducible, not secret
    english, japanese = _sentences()
    made: dict[str, None] = {}
    while len(made) < count:
        tokens = lengths.draw(source)
        if source.random() < _ENGLISH:
            _add(made, source, english, max(1, round(tokens / _TOKENS_A_WORD)))
        else:
            _add(made, source, japanese, tokens)
    return list(made)


#: A sentence as what a text may be cut between: words with the space after them, or characters.
_Pieces = tuple[str, ...]


def _sentences() -> tuple[list[_Pieces], list[_Pieces]]:
    english, japanese = [], []
    for passage in passages("embedding"):
        if passage.text.isascii():
            english.append(tuple(f"{word} " for word in passage.text.split()))
        elif " " not in passage.text:
            japanese.append(tuple(passage.text))
    return english, japanese


def _add(made: dict[str, None], source: random.Random, sentences: list[_Pieces], count: int) -> None:
    """One text of `count` pieces, or of as many more as it takes to be a new one."""
    while True:
        for _ in range(_DRAWS):
            text = _joined(source, sentences, count)
            if text and text not in made:
                made[text] = None
                return
        count += 1


def _joined(source: random.Random, sentences: list[_Pieces], count: int) -> str:
    """Sentences at random, the first from anywhere within it."""
    first = source.choice(sentences)
    pieces = list(first[source.randrange(len(first)) :])
    while len(pieces) < count:
        pieces.extend(source.choice(sentences))
    return "".join(pieces[:count]).strip()
