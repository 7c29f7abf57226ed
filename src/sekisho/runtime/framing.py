"""The special tokens around one text or two, and the lengths that two share."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from sekisho.contract import Subwords, Tokens

Run = tuple[int, ...]


@dataclass(frozen=True)
class Frame:
    """Special tokens before, between and after texts: one more run of them than there are texts.

    types: the types of each run; text_types: the type of each text's own tokens.
    odd_to_first: where two texts share what is left, the first gets the odd token; else the longer one. transformers'
        tokenizers in Python do the one, those in Rust the other.
    """

    runs: tuple[Run, ...]
    types: tuple[Run, ...]
    text_types: Run
    odd_to_first: bool = False
    taken: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "taken", sum(map(len, self.runs)))

    @property
    def head(self) -> list[int]:
        return list(self.runs[0])

    @property
    def tail(self) -> list[int]:
        return list(self.runs[-1])

    def around(self, *texts: list[int], truncated: bool = False) -> Tokens:
        """As an array: of a hundred thousand texts in the queue, numbers of Python's own would take nine times that."""
        ids = self.head
        for text, run in zip(texts, self.runs[1:], strict=True):
            ids += text
            ids += run
        if not any(self.text_types) and not any(map(any, self.types)):
            return Tokens(array("i", ids), truncated)
        types = list(self.types[0])
        for text, own, run in zip(texts, self.text_types, self.types[1:], strict=True):
            types += [own] * len(text)
            types += run
        return Tokens(array("i", ids), truncated, array("i", types))


def bare(texts: int) -> Frame:
    """No special tokens at all."""
    return Frame(((),) * (texts + 1), ((),) * (texts + 1), (0,) * texts)


def frames_of(rules: Subwords, opening: int, closing: int) -> tuple[Frame, Frame]:
    """`[CLS] A [SEP] B [SEP]` or `<s> A </s></s> B </s>`."""
    head, tail = (opening,), (closing,)
    single = Frame((head, tail), ((0,), (0,)), (0,))
    if rules.doubled:
        return single, Frame((head, tail * 2, tail), ((0,), (0, 0), (0,)), (0, 0), odd_to_first=True)
    return single, Frame((head, tail, tail), ((0,), (0,), (1,)), (0, 1), odd_to_first=True)


def read_frame(ids: Sequence[int], types: Sequence[int], owners: Sequence[int | None], texts: int) -> Frame | None:
    """The frame that a tokenizer put around its `texts`; `owners`: whose each token is, None for special ones.

    None where it cannot be read off: a text without tokens, or texts in another order.
    """
    runs: list[list[int]] = [[]]
    run_types: list[list[int]] = [[]]
    text_types: list[int] = []
    for token, kind, owner in zip(ids, types, owners, strict=True):
        if owner is None:
            runs[-1].append(token)
            run_types[-1].append(kind)
        elif owner == len(text_types):
            text_types.append(kind)
            runs.append([])
            run_types.append([])
        elif owner != len(text_types) - 1 or runs[-1]:
            return None
    if len(text_types) != texts:
        return None
    return Frame(tuple(map(tuple, runs)), tuple(map(tuple, run_types)), tuple(text_types))


def shared_lengths(first: int, second: int, room: int, *, odd_to_first: bool = False) -> tuple[int, int]:
    """How many tokens of two texts are kept in `room`.

    The second is cut. Only where the first leaves it not one token are both cut, the longer one first, as transformers'
    `longest_first` does: a query that fills the model alone would give every document the same score.
    """
    if first + second <= room:
        return first, second
    if first < room:
        return first, room - first
    half = room // 2
    if second <= half:
        return room - second, second
    odd = odd_to_first or first > second
    return (room - half, half) if odd else (half, room - half)
