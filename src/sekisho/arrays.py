"""Texts of any lengths as the arrays a graph takes: in rows, and where in them the tokens stand; pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from sekisho.contract import PLACES, POOLING_MASK, SLOTS, Tokens, even_length

Inputs = dict[str, NDArray[np.int32]]

#: A packed batch is run with a few tokens more, so that their number is a multiple of this: fewer batches then have a
#: shape unlike the last one's, which costs OpenVINO more than the tokens do (docs/performance.md).
_STEP = 8


def pad(batch: Sequence[Tokens], pad_id: int, names: Collection[str] = ()) -> Inputs:
    """Tokens → `input_ids`, `attention_mask` and, where `names` has them, `token_type_ids`, `pooling_mask`, `places`
    and `slots`: int32 [rows, longest], `places` [tokens].

    What types the tokenizer gives are dropped for a graph that takes none, as models of one type do.
    """
    # A text without special tokens may be no token at all, and no engine takes an empty axis.
    longest = max(1, *map(len, batch))
    shape = len(batch), even_length(longest) if SLOTS in names else longest
    ids = np.full(shape, pad_id, np.int32)
    mask = np.zeros(shape, np.int32)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens.ids
        mask[row, : len(tokens)] = 1
    inputs = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in names:
        types = inputs["token_type_ids"] = np.zeros(shape, np.int32)
        for row, tokens in enumerate(batch):
            if tokens.type_ids is not None:
                types[row, : len(tokens)] = tokens.type_ids
    if POOLING_MASK in names:
        counted = inputs[POOLING_MASK] = mask.copy()
        for row, tokens in enumerate(batch):
            counted[row, : tokens.prompt] = 0
    return inputs | _where([*map(len, batch)], shape[1], _STEP) if SLOTS in names else inputs


def where(mask: NDArray[np.int32], step: int = _STEP) -> Inputs:
    """mask [B, S] → `places` int32 [T], where each token stands in the batch read row by row, and `slots` int32 [B, S],
    which of them stands there.

    T is a multiple of `step`: the tokens, then copies of one that nobody reads. A place of padding shows the first
    token of its own row, or such a copy where the row has none: whatever a text holds stays with it.
    """
    return _where(mask.sum(axis=1).tolist(), mask.shape[1], step)


def _where(lengths: Sequence[int], width: int, step: int) -> Inputs:
    """`where` of rows that begin with so many tokens.

    A row at a time: for one short text, which waits for it, that is a tenth of what sums over the mask take.
    """
    tokens, empty = sum(lengths), 0 in lengths
    places = np.full(_multiple(tokens + empty, step), lengths.index(0) * width if empty else 0, np.int32)
    slots = np.empty((len(lengths), width), np.int32)
    start = 0
    for row, length in enumerate(lengths):
        end = start + length
        places[start:end] = np.arange(row * width, row * width + length)
        slots[row, :length] = np.arange(start, end)
        slots[row, length:] = start if length else tokens
        start = end
    return {PLACES: places, SLOTS: slots}


def tokens_run(lengths: Sequence[int], *, packed: bool) -> int:
    """How many tokens a graph computes on for texts of these lengths, padding included."""
    if not packed:
        return max(1, *lengths) * len(lengths)
    return _multiple(sum(lengths) + (0 in lengths), _STEP)


def _multiple(count: int, step: int) -> int:
    return -(-count // step) * step
