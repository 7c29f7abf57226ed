"""The values that cross layers, and what a prepared model directory promises.

A prepared model is a directory with `model.onnx` (+ `model.onnx.data`), `tokenizer.json` and `contract.json`.
The contract is the whole conversation between the converter, which writes it, and the serving side, which reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

CONTRACT_FILE = "contract.json"
#: The graph input that says which tokens count in the vector.
POOLING_MASK = "pooling_mask"
#: The graph inputs that say where a batch's tokens stand, for graphs that compute on tokens without padding.
PLACES, SLOTS = "places", "slots"
GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
TOKENIZER_FILE = "tokenizer.json"
#: In place of tokenizer.json: `Subwords`, beside the vocabulary it names.
SUBWORDS_FILE = "subwords.json"
VOCABULARY_FILE = "vocab.txt"
SENTENCEPIECE_FILE = "sentencepiece.model"

#: Raised when a change makes directories prepared by an older converter wrong or unreadable.
CONTRACT_VERSION = 2

Kind = Literal["embedding", "reranker"]
#: `latent`: the mean of what NV-Embed's latent attention makes of the tokens.
Pooling = Literal["mean", "cls", "max", "last", "weighted_mean", "latent"]
Truncation = Literal["end", "start", "none"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]

TokenizerKind = Literal["tokenizer_json", "bert_japanese", "sentencepiece"]
Normalization = Literal["none", "nfkc", "neologdn"]

#: What the numbers of a graph are: those of the checkpoint, those in fp16, int8 that we calibrated, or a ready-made
#: file's int8 whose scales are found anew for each batch.
Numbers = Literal["float", "half", "int8", "dynamic_int8"]
#: What people are told of the last one.
DYNAMIC_INT8 = "int8, its scales depend on the batch: a text's vector changes a little with the texts beside it"

#: Outputs that give something to each token, not to each text.
TOKEN_HEADS = ("sparse", "colbert")

Rows = NDArray[np.float32]


#: Rows of a packed graph's batch are as long as a multiple of this: how many floats the widest vector of a CPU holds.
#: A softmax adds its last few scores, which do not fill a vector, in another order than those that do (OpenVINO
#: 2026.4.1), so the last bit of the sum would change where padding fills that vector, and in bfloat16 a text's own
#: vector with it, by up to 5e-4. Over whole vectors alone a text comes out the same in every batch.
_EVEN = 16


def even_length(tokens: int) -> int:
    """The places of a row that holds so many tokens."""
    return -(-tokens // _EVEN) * _EVEN


@dataclass(frozen=True)
class Quality:
    """How a quantised graph compares with its fp32 on the texts that ship with the package.

    cosine_mean, cosine_min: over the texts. overlap: share of each text's ten nearest that stay its ten nearest.
    alone: lowest cosine of a text among neighbours to the same text alone; 1 where a batch changes nothing.
    forced: the figures are below the gate and models.yaml takes the model all the same.
    """

    texts: int
    cosine_mean: float
    cosine_min: float
    overlap: float
    alone: float
    forced: bool = False


@dataclass(frozen=True)
class Contract:
    """What the graph beside it takes and gives.

    inputs: graph input names in order; every one is int32 of shape [rows, length]. `pooling_mask` is among them where
        the prompt's tokens are read but stay out of the vector. Where `slots` is, which of the batch's tokens stands at
        each place, so is `places` [tokens], where each of them stands (`arrays.py`).
    outputs: names of the float32 outputs. An embedding model gives `embedding` [rows, width] and, where that is
        normalised, `norm` [rows, 1]; a reranker gives `logits` [rows, width]. Some embedding models also give `sparse`
        [rows, length], a weight a token, and `colbert` [rows, length, …], a vector a token, zero for the first.
    max_tokens: longest input the model was made for, special tokens included.
    special_tokens: whether a text is framed as tokenizer.json says; without, an empty text is no token at all.
    tokenizer: which files turn text into ids: tokenizer.json, or the ones that `Subwords` describes.
    normalization: what is done to a text, without its prompt, before the tokenizer sees it.
    numbers: what the graph computes with; `quality` is there where they are not the checkpoint's.
    graph: the ready-made file the graph came from; None: it was made from the weights.
    engine: the only engine that runs the graph as it is meant; None: any does.
    origins: for each value that can come from several places, where it came from.
    files: sha256 of every other file in the directory.
    """

    kind: Kind
    family: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    width: int
    max_tokens: int
    pad_id: int
    vocabulary: int
    pooling: Pooling | None
    normalized: bool
    parameters: int
    tokenizer: TokenizerKind = "tokenizer_json"
    special_tokens: bool = True
    normalization: Normalization = "none"
    numbers: Numbers = "float"
    quality: Quality | None = None
    graph: str | None = None
    engine: Literal["onnxruntime"] | None = None
    origins: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    version: int = CONTRACT_VERSION

    @property
    def packed(self) -> bool:
        """Whether the graph computes on tokens side by side, padded in attention alone."""
        return SLOTS in self.inputs

    @property
    def heads(self) -> tuple[str, ...]:
        """Outputs as long as each text, which are computed for those who ask for them."""
        return tuple(name for name in self.outputs if name in TOKEN_HEADS)

    def write(self, directory: Path) -> None:
        values = asdict(self)
        values["seal"] = _digest(values)
        (directory / CONTRACT_FILE).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, directory: Path) -> Contract:
        """Raises OSError or ValueError where the directory is no prepared model of this version."""
        values = json.loads((directory / CONTRACT_FILE).read_text("utf-8"))
        if not isinstance(values, dict) or values.get("version") != CONTRACT_VERSION:
            raise ValueError(f"no contract of version {CONTRACT_VERSION}")
        if values.pop("seal", None) != _digest(values):
            raise ValueError("the contract was changed after it was written")
        values |= {"inputs": tuple(values["inputs"]), "outputs": tuple(values["outputs"])}
        if values["quality"] is not None:
            values["quality"] = Quality(**values["quality"])
        return cls(**values)


def _digest(values: Mapping[str, Any]) -> str:
    """The contract vouches for the files beside it; this vouches for the contract."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in the text itself, before words are looked for; `id` None: as the vocabulary says.

    lstrip, rstrip: white space beside it belongs to it. normalized: as in tokenizer_config.json.
    """

    content: str
    id: int | None = None
    lstrip: bool = False
    rstrip: bool = False
    special: bool = True
    normalized: bool = False


@dataclass(frozen=True)
class Subwords:
    """A tokenizer without a tokenizer.json, as the converter read it from the checkpoint's own files.

    pieces: what words are cut into. `fairseq` is SentencePiece with its ids one further on and `<s>`, `<pad>`, `</s>`,
        `<unk>` before them.
    opening, closing, unknown: the special tokens around a text and in place of what the vocabulary lacks.
    doubled: two texts are parted by the closing token twice, and both are of type 0 (RoBERTa); else once, and the
        second is of type 1 (BERT).
    dictionary: MeCab's, by the name of its Python module; None: text is not cut into words first.
    """

    pieces: Literal["wordpiece", "character", "sentencepiece", "fairseq"]
    opening: str
    closing: str
    unknown: str
    doubled: bool
    added: tuple[AddedToken, ...]
    dictionary: str | None = None
    nfkc: bool = True
    lower: bool = False
    never_split: tuple[str, ...] = ()

    def write(self, directory: Path) -> None:
        (directory / SUBWORDS_FILE).write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, directory: Path) -> Subwords:
        """Raises OSError, ValueError or TypeError where the file is not what `write` writes."""
        values = json.loads((directory / SUBWORDS_FILE).read_text("utf-8"))
        values["added"] = tuple(AddedToken(**token) for token in values["added"])
        values["never_split"] = tuple(values["never_split"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Passage:
    """One text, or two that are read together, as the service hands it to an engine.

    prompt_chars: how many leading characters of `text` are the prompt, which truncation never cuts.
    ids: token ids of the model's own vocabulary, in place of the text.
    pair: the second text, which truncation cuts first: a reranker's document, `text` being the query.
    frame: texts around `text` that are tokenised by themselves and never cut: what a language model is asked with.
    document_tokens: at most this many tokens of the document are read: of `pair`, or of what follows the prompt.
    field: the request's field that the text came in, for errors.
    kind: what the text is (`query`, `document`, …), for a service elsewhere that puts its own prompt before it.
    dimensions: the width asked for, which a service elsewhere may give at once.
    """

    text: str
    prompt_chars: int = 0
    ids: tuple[int, ...] | None = None
    pair: str | None = None
    frame: tuple[str, str] | None = None
    document_tokens: int | None = None
    field: str = "input"
    kind: str | None = None
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenised passage: what the model will see, special tokens included.

    type_ids: which text each token belongs to, in the tokenizer's own numbers; None: 0 everywhere.
    prompt: how many leading tokens stay out of the vector; counted for graphs that take a `pooling_mask` alone.
    """

    ids: Sequence[int]
    truncated: bool = False
    type_ids: Sequence[int] | None = None
    prompt: int = 0

    def __len__(self) -> int:
        return len(self.ids)


class Counted(Protocol):
    """A passage as the model saw it: its length in tokens, and whether it was cut."""

    @property
    def truncated(self) -> int: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a request's time went, in seconds."""

    queue: float = 0.0
    tokenize: float = 0.0
    inference: float = 0.0


@dataclass(frozen=True, slots=True)
class Inference:
    """What an engine gives back for a request.

    rows: float32 [passages, width], in the order asked.
    norms: float32 [passages], what the graph divided each row by; None where it does not normalise.
    tokens: number of tokens the model saw, over all passages.
    truncated: number of passages that were cut.
    counts: of each passage; empty where the engine does not know them, as one that asks another service.
    texts: the tokens of each passage, where heads were asked for.
    heads: by the name asked for, of each passage an array of its own length: `sparse` float32 [tokens], zero for
        special tokens, and `colbert` float32 [tokens, width], zero for the first.
    scored: the rows of a reranker are final scores, as a service elsewhere gives them, and no logits.
    """

    rows: Rows
    norms: Rows | None
    tokens: int
    truncated: int
    timings: Timings
    counts: Sequence[Counted] = ()
    texts: Sequence[Tokens] = ()
    heads: Mapping[str, Sequence[Rows]] = field(default_factory=dict)
    scored: bool = False
