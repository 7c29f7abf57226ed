"""Whether an int8 or fp16 graph is near enough to its fp32 to be served; pure.

The bar is that of the aim for int8 (docs/performance.md): mean cosine 0.998, lowest 0.99, ten nearest 0.97. Below it
search results change visibly; bfloat16, which is taken ungated, is at 0.9999. `ALONE` allows for roundings that tip
over when a kernel adds in another order; scales found over a whole batch, as usual dynamic int8 has them, miss it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sekisho.contract import Kind, Quality, Rows
from sekisho.convert.gate_texts import documents_per_query
from sekisho.errors import ConversionFailed

MEAN, LOWEST, OVERLAP, ALONE = 0.998, 0.99, 0.97, 0.999
Bars = tuple[float, float, float, float]
INT8: Bars = (MEAN, LOWEST, OVERLAP, ALONE)
#: fp16 has three bits more than bfloat16 and less range: at this bar a model keeps to that range. The ten nearest of
#: texts that are all alike change places at differences no reader sees, so theirs is int8's.
HALF: Bars = (0.9999, 0.999, OVERLAP, ALONE)
_NEAREST = 10
_EVERY = 9


def lone(kind: Kind) -> slice:
    """Which texts are also run by themselves: some of every length, or all documents of a reranker's first query."""
    return slice(documents_per_query()) if kind == "reranker" else slice(None, None, _EVERY)


def judge(kind: Kind, reference: Rows, rows: Rows, alone: Rows) -> Quality:
    """The figures of int8 `rows` beside fp32 `reference`, both float32 [texts, width]; `alone`: those of
    `rows` that `lone` names again, each run by itself.

    For a reranker a vector is what a query gives all its documents, less their mean: the cosine is then the
    correlation of the scores, and the overlap that of the ten best documents.
    """
    count = len(rows)
    if kind == "reranker":
        single = _scores(alone, len(alone))[0]
        together = _scores(rows[lone(kind)], len(alone))[0]
        reference, rows = (_scores(values, documents_per_query()) for values in (reference, rows))
        ranks = [np.argsort(-values, axis=1)[:, :_NEAREST] for values in (reference, rows)]
        least = float(_cosines(together[None], single[None])[0])
    else:
        ranks = [_nearest(values) for values in (reference, rows)]
        least = float(_cosines(rows[lone(kind)], alone).min())
    shared = [len(set(a) & set(b)) / len(a) for a, b in zip(*ranks, strict=True)]
    agreement = _cosines(reference, rows)
    return Quality(count, float(agreement.mean()), float(agreement.min()), float(np.mean(shared)), least)


def short_of(quality: Quality, needed: Bars = INT8) -> str | None:
    """The figures that miss their bar, in words; None where all hold. A figure that is no number misses it."""
    mean, lowest, overlap, alone = needed
    bars = (
        ("mean cosine", quality.cosine_mean, mean),
        ("lowest cosine", quality.cosine_min, lowest),
        ("ten nearest that stay", quality.overlap, overlap),
        ("a text alone and among others", quality.alone, alone),
    )
    missed = [f"{name} {value:.4f} (needs {bar})" for name, value, bar in bars if not value >= bar]
    return ", ".join(missed) or None


def refuse(name: str, missed: str, numbers: str = "int8") -> None:
    """Raises ConversionFailed with the figures."""
    raise ConversionFailed(
        f"{numbers} changes {name!r} too much against fp32: {missed}. Leave `precision` at auto, or take it all the "
        "same with `force_precision: true` (`sekisho convert`: `--force`)"
    )


def _scores(logits: Rows, documents: int) -> Rows:
    values = logits.reshape(-1, documents * logits.shape[1])
    return values - values.mean(axis=1, keepdims=True)


def _cosines(first: Rows, second: Rows) -> Rows:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines: Rows = (first * second).sum(axis=1) / np.maximum(lengths, np.finfo(np.float32).tiny)
    return cosines


def _nearest(rows: Rows) -> NDArray[np.intp]:
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    order: NDArray[np.intp] = np.argsort(-likeness, axis=1)[:, :_NEAREST]
    return order
