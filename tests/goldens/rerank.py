"""What one query and its documents give: the goldens that the rerank routes are tested with. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tests.checkpoints_encoders import TinyEncoder, tiny_encoder
from tests.goldens.encoders import Sequence, sample_texts

FOLDER = Path(__file__).parent / "rerank"
RERANKERS = tuple(tiny_encoder(name) for name in ("bert-reranker", "xlm-roberta-reranker", "modernbert-reranker-cls"))
QUERY = "東京 station: どこで weather を search しますか"


@dataclass(frozen=True)
class RerankGolden:
    """lengths: tokens of each pair; logits: float32 [documents]."""

    lengths: list[int]
    logits: NDArray[np.float32]


def documents(spec: TinyEncoder, tokenizer: Tokenizer) -> list[str]:
    """Texts of all kinds and lengths, and three whose pairs are one under, at, and one over the limit."""
    tokenizer.no_truncation()
    room = spec.limit - len(tokenizer.encode(QUERY, "").ids)
    return ["", " ", *sample_texts(), *("a " * (room + more) for more in (-1, 0, 1)), QUERY]


def pairs(spec: TinyEncoder, directory: Path) -> tuple[list[str], list[Sequence]]:
    """The documents, and what the model sees of each beside the query; of a pair the document is cut."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    texts = documents(spec, tokenizer)
    tokenizer.enable_truncation(spec.limit, strategy="only_second")
    made = [tokenizer.encode(QUERY, text) for text in texts]
    return texts, [Sequence(one.ids, one.type_ids) for one in made]


def save_golden(name: str, lengths: list[int], logits: NDArray[np.float32]) -> Path:
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(path, lengths=np.array(lengths, np.int32), logits=logits)
    return path


def load_golden(name: str) -> RerankGolden:
    """What transformers gave."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        return RerankGolden(stored["lengths"].tolist(), stored["logits"])
