"""Write tiny-decoders/*.npz: what sentence-transformers and transformers give for tests/checkpoints_decoders.py.

Run by scripts/goldens. Float32 on the CPU, each text alone. Attention in both directions (`is_causal: false`) is not
in transformers 4: there the stack gets a mask of its own.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.checkpoints_decoders import (
    TINY_DECODERS,
    TINY_STATICS,
    TinyDecoder,
    TinyStatic,
    write_tiny_decoder,
    write_tiny_static,
)
from tests.goldens.decoders import FOLDER, save_golden, texts, token_ids, words

PAD = 3


def outputs_of(spec: TinyDecoder, directory: Path, ids: list[list[int]]) -> NDArray[np.float32]:
    if spec.kind == "reranker":
        return answers(spec, directory, ids) if spec.answers else scores(directory, ids)
    if not spec.config.get("is_causal", True):
        return both_ways(spec, directory, ids)
    load(AutoModel, directory)  # which refuses weights that are not found; the next only warns
    model = SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": torch.float32})
    for text, own in zip(texts(), ids, strict=True):
        if model.tokenize([text])["input_ids"][0].tolist() != own:
            raise AssertionError(f"{spec.name}: other ids for {text!r}")
    outputs = np.asarray(model.encode(texts(), batch_size=1), np.float32)
    if spec.pooling == "last":
        check_left_padding(directory, spec, ids, outputs)
    return outputs


def check_left_padding(directory: Path, spec: TinyDecoder, ids: list[list[int]], outputs: NDArray[np.float32]) -> None:
    """The card of a decoder pads at the left and takes the last position: the same as each text alone."""
    model = load(AutoModel, directory)
    for start in range(0, len(ids), 8):
        rows = ids[start : start + 8]
        longest = max(map(len, rows))
        padded = torch.tensor([[PAD] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        last = model(input_ids=padded, attention_mask=mask).last_hidden_state[:, -1]
        last = normalize(last, dim=-1) if spec.normalize else last
        gap = float(np.abs(last.numpy() - outputs[start : start + 8]).max() / np.abs(outputs).max())
        if gap > 1e-5:
            raise AssertionError(f"{spec.name}: padding at the left gives another vector ({gap})")


def both_ways(spec: TinyDecoder, directory: Path, ids: list[list[int]]) -> NDArray[np.float32]:
    model = load(AutoModel, directory)
    rows = []
    for own in ids:
        everything = torch.zeros(1, 1, len(own), len(own))
        hidden = model(input_ids=torch.tensor([own]), attention_mask=everything).last_hidden_state[0]
        row = hidden.mean(dim=0) if spec.pooling == "mean" else hidden[-1]
        rows.append(normalize(row, dim=0) if spec.normalize else row)
    return np.stack([row.numpy() for row in rows])


def answers(spec: TinyDecoder, directory: Path, ids: list[list[int]]) -> NDArray[np.float32]:
    """What Qwen3-Reranker's card computes: the softmax over the logits of no and yes at the last position, of yes.

    Beside it the logit of yes less that of no, which does not saturate.
    """
    model = load(AutoModelForCausalLM, directory)
    yes, no = words(spec, directory)
    pairs = torch.stack([model(input_ids=torch.tensor([own])).logits[0, -1, [no, yes]] for own in ids])
    chances = torch.nn.functional.log_softmax(pairs, dim=1).exp()[:, 1]
    return np.asarray(torch.stack([chances, pairs[:, 1] - pairs[:, 0]], dim=1), np.float32)


def scores(directory: Path, ids: list[list[int]]) -> NDArray[np.float32]:
    model = load(AutoModelForSequenceClassification, directory)
    return np.stack([model(input_ids=torch.tensor([own])).logits[0].numpy() for own in ids])


def load(loader: Any, directory: Path) -> Any:
    model, loading = loader.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    unexpected = set(loading["unexpected_keys"]) - {"lm_head.weight"}
    if loading["missing_keys"] or unexpected or loading["mismatched_keys"]:
        raise AssertionError(f"{directory.name}: {loading}")
    return model.eval()


def static_outputs(spec: TinyStatic, directory: Path) -> NDArray[np.float32]:
    """In float32, whatever the table is stored in."""
    return np.asarray(SentenceTransformer(str(directory), device="cpu").float().encode(texts()), np.float32)


def spread(name: str, outputs: NDArray[np.float32]) -> str:
    """Refuse outputs that are so alike that an error would not show."""
    if outputs.shape[1] < 5:
        deviation = float(outputs.std(axis=0).min())
        if deviation < 0.1:
            raise AssertionError(f"{name}: scores hardly differ ({deviation})")
        return f"scores {outputs.min():.2f} to {outputs.max():.2f}, deviation {deviation:.2f}"
    unit = normalize(torch.tensor(np.unique(outputs, axis=0)).double()).numpy()
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    if cosines.mean() >= 0.85:
        raise AssertionError(f"{name}: texts look alike (mean cosine {cosines.mean()})")
    return f"mean cosine of different texts {cosines.mean():.3f}, below 0.9 in {(cosines < 0.9).mean():.0%} of pairs"


def save(name: str, ids: list[list[int]], outputs: NDArray[np.float32]) -> None:
    if not np.isfinite(outputs).all():
        raise AssertionError(f"{name}: not finite")
    size = save_golden(name, ids, outputs).stat().st_size
    print(f"{name}: {len(ids)} texts up to {max(map(len, ids))}, {spread(name, outputs)}, {size} bytes")


def main() -> None:
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for spec in TINY_DECODERS:
            directory = write_tiny_decoder(spec, Path(folder) / spec.name, reference=True)
            ids = token_ids(directory, spec.limit, texts())
            save(spec.name, ids, outputs_of(spec, directory, ids))
        for table in TINY_STATICS:
            directory = write_tiny_static(table, Path(folder) / table.name)
            save(table.name, token_ids(directory, None, texts()), static_outputs(table, directory))
    print(f"all: {sum(path.stat().st_size for path in FOLDER.glob('*.npz'))} bytes")


if __name__ == "__main__":
    main()
