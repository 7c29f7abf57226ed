"""Which of a repository's files a model needs: decided from their names alone."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from sekisho.catalog.registry import Spec

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
TOKENIZER: Final = "tokenizer.json"

#: bge-m3 keeps its sparse and multi-vector heads in these, the only pickles that are ever asked for.
HEADS: Final = ("colbert_linear.pt", "sparse_linear.pt")

_PLAIN = (CONFIG, "modules.json", "sentence_bert_config.json")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_MODULE = re.compile(r"\d+_[A-Za-z0-9]+/(config\.json|model\.safetensors|tokenizer\.json)")
#: The weights that a ready-made graph stands in for; those of the modules after it are still needed.
_ENCODER = re.compile(r"(0_[A-Za-z0-9]+/)?model\.safetensors")
_SLOW_TOKENIZER = re.compile(
    r"vocab\.txt|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json"
    r"|(spiece|spm|tokenizer|sentencepiece|sentencepiece\.bpe)\.model"
)
_PICKLE = re.compile(r".*\.(bin|pt|pth|pkl|ckpt)")


def wanted(listing: Collection[str], spec: Spec, *, onnx: str | None = None) -> list[str]:
    """The files to fetch, the large ones last.

    onnx: a ready-made graph in the repository, which stands in for the weights: it and its external data, no other.
    """
    names = {name for name in listing if name in _PLAIN or _MODULE.fullmatch(name)}
    names |= _tokenizer(listing, onnx, fast=spec.tokenizer.kind in {"auto", "tokenizer_json"})
    if onnx is None:
        names |= _weights(listing)
    else:
        names = {name for name in names if not _ENCODER.fullmatch(name)} | _graph(listing, onnx)
    if {"sparse", "colbert"} & set(spec.heads):
        names |= set(HEADS) & set(listing)
    return sorted(names, key=_order)


def lockable(listing: Collection[str], spec: Spec) -> list[str]:
    """The files that any machine might fetch: the lock is the same for all of them."""
    names = set(wanted(listing, spec)) if spec.onnx is None else set()
    for onnx in graphs(spec):
        names |= set(wanted(listing, spec, onnx=onnx))
    return sorted(names, key=_order)


def graphs(spec: Spec) -> list[str]:
    """Every ready-made graph that the registry names for the model."""
    return list(dict.fromkeys([*([spec.onnx] if spec.onnx else []), *spec.variants.values()]))


def unchosen(listing: Collection[str], spec: Spec, onnx: str | None) -> set[str]:
    """The graphs that this machine has no use for, with their data; `onnx`: the one it has."""
    kept = _graph(listing, onnx) if onnx else set()
    return {name for other in graphs(spec) if other != onnx for name in _graph(listing, other)} - kept


def lacking(names: Collection[str], *, onnx: str | None = None) -> str | None:
    """What no model can do without and `names` does not hold; None where it is whole."""
    module_weights = any(name.startswith("0_") and name.endswith(WEIGHTS) for name in names)
    if CONFIG not in names and not module_weights:
        return CONFIG
    if onnx is not None:
        if onnx not in names:
            return onnx
    elif WEIGHTS not in names and INDEX not in names and not module_weights:
        return WEIGHTS
    if not any(
        name.rpartition("/")[2] == TOKENIZER or name == "vocab.txt" or name.endswith(".model") for name in names
    ):
        return TOKENIZER
    return None


def is_tokenizer(name: str) -> bool:
    """Whether a file of that name, without its folder, belongs to a tokenizer."""
    return name == TOKENIZER or _SLOW_TOKENIZER.fullmatch(name) is not None


def pickles(listing: Collection[str]) -> list[str]:
    """Files that are never loaded, for a message that says why the weights are missing."""
    return sorted(name for name in listing if _PICKLE.fullmatch(name) and "/" not in name)


def _order(name: str) -> tuple[bool, bool, str]:
    """The config first and the weights last: what is wrong with a model shows before gigabytes of it are read."""
    return not name.endswith((".json", ".txt", ".model")), name != CONFIG, name


def _tokenizer(listing: Collection[str], onnx: str | None, *, fast: bool) -> set[str]:
    if fast and TOKENIZER in listing:
        return {TOKENIZER}
    beside = f"{(onnx or '').rpartition('/')[0]}/{TOKENIZER}"
    if fast and beside in listing:
        return {beside}
    return {name for name in listing if name == TOKENIZER or _SLOW_TOKENIZER.fullmatch(name)}


def _weights(listing: Collection[str]) -> set[str]:
    """The one file; the index and its shards only where that is not there."""
    if WEIGHTS in listing:
        return {WEIGHTS}
    return {name for name in listing if name == INDEX or _SHARD.fullmatch(name)} if INDEX in listing else set()


def _graph(listing: Collection[str], onnx: str) -> set[str]:
    """ONNX keeps what exceeds 2 GB beside the graph: `model.onnx_data`, numbered parts, or constants by their node."""
    folder = onnx[: onnx.rfind("/") + 1]
    data = re.compile(rf"{re.escape(onnx)}[._]data(_\d+)?|{re.escape(folder)}Constant_\d+_attr__value")
    return {name for name in listing if name == onnx or data.fullmatch(name)}
