"""Write encoders/*.npz: what transformers gives for tests/checkpoints_encoders.py. Run by scripts/goldens.

Float32 on the CPU, each text or pair alone, so that no padding takes part. Alibaba's `new` architecture is in no
release of transformers: for it the reference is `gte_outputs` below, in float64.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn.functional import gelu, layer_norm, linear, normalize
from transformers import AutoModel, AutoModelForSequenceClassification

from tests.checkpoints_encoders import TINY_ENCODERS, TinyEncoder, write_tiny_encoder
from tests.goldens.encoders import FOLDER, Sequence, save_golden, sequences

# Heads of tasks that transformers makes up where the file has none, and dead weights that it has no place for.
MADE_UP = {"pooler.dense.weight", "pooler.dense.bias"}


def transformers_outputs(spec: TinyEncoder, directory: Path, inputs: list[Sequence]) -> NDArray[np.float32]:
    loader = AutoModelForSequenceClassification if spec.kind == "reranker" else AutoModel
    model, loading = loader.from_pretrained(directory, dtype=torch.float32, output_loading_info=True)
    if set(loading["missing_keys"]) - MADE_UP or loading["unexpected_keys"] or loading["mismatched_keys"]:
        raise AssertionError(f"{spec.name}: {loading}")
    model.eval()
    rows = []
    for one in inputs:
        given = {"input_ids": torch.tensor([one.ids]), "attention_mask": torch.ones(1, len(one.ids), dtype=torch.int64)}
        if spec.segments:
            given["token_type_ids"] = torch.tensor([one.types])
        outputs = model(**given)
        rows.append(outputs.logits[0] if spec.kind == "reranker" else pooled(spec, outputs.last_hidden_state[0]))
    return np.stack([row.numpy() for row in rows])


def pooled(spec: TinyEncoder, hidden: torch.Tensor) -> torch.Tensor:
    row = hidden[0] if spec.pooling == "cls" else hidden.mean(dim=0)
    return normalize(row, dim=0) if spec.normalize else row


def gte_outputs(spec: TinyEncoder, directory: Path, inputs: list[Sequence]) -> NDArray[np.float32]:
    """The `new` architecture from its description: complex rotations, one head at a time, float64."""
    stored = load_file(directory / "model.safetensors")
    w = {name.removeprefix("new."): tensor.double() for name, tensor in stored.items()}
    return np.stack([gte_row(spec, w, one.ids).float().numpy() for one in inputs])


def gte_row(spec: TinyEncoder, w: dict[str, torch.Tensor], ids: list[int]) -> torch.Tensor:
    config = spec.config
    width, heads, inner = config["hidden_size"], config["num_attention_heads"], config["intermediate_size"]
    size = width // heads

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return layer_norm(x, (width,), w[f"{name}.weight"], w[f"{name}.bias"], config["layer_norm_eps"])

    turns = gte_turns(config["rope_theta"], config.get("rope_scaling"), size, len(ids))
    x = w["embeddings.word_embeddings.weight"][ids]
    if config["type_vocab_size"]:
        x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for index in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{index}"
        packed = linear(x, w[f"{name}.attention.qkv_proj.weight"], w[f"{name}.attention.qkv_proj.bias"])
        mixed = []
        for head in range(heads):
            query, key, value = (packed[:, part * width + head * size :][:, :size] for part in range(3))
            scores = turned(query, turns) @ turned(key, turns).T / size**0.5
            mixed.append(torch.softmax(scores, dim=-1) @ value)
        out = linear(torch.cat(mixed, dim=1), w[f"{name}.attention.o_proj.weight"], w[f"{name}.attention.o_proj.bias"])
        x = norm(x + out, f"{name}.attn_ln")
        both = linear(x, w[f"{name}.mlp.up_gate_proj.weight"])
        grown = gelu(both[:, inner:]) * both[:, :inner]
        x = norm(
            x + linear(grown, w[f"{name}.mlp.down_proj.weight"], w[f"{name}.mlp.down_proj.bias"]), f"{name}.mlp_ln"
        )
    if spec.kind == "embedding":
        return pooled(spec, x)
    first = torch.tanh(linear(x[0], w["pooler.dense.weight"], w["pooler.dense.bias"]))
    return linear(first, w["classifier.weight"], w["classifier.bias"])


def gte_turns(theta: float, scaling: dict[str, object] | None, size: int, length: int) -> torch.Tensor:
    """Unit complex numbers [length, size / 2] by which the halves of a head are turned."""
    factor = float(str(scaling["factor"])) if scaling else 1.0
    exponents = torch.arange(size // 2, dtype=torch.float64) * 2 / size
    frequencies = (theta * factor) ** -exponents / factor ** (2 / size)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    return torch.polar(torch.ones_like(angles), angles)


def turned(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=1)
    result = torch.complex(first, second) * turns
    return torch.cat([result.real, result.imag], dim=1)


def spread(spec: TinyEncoder, outputs: NDArray[np.float32]) -> str:
    """Refuse outputs that are so alike that an error would not show."""
    if spec.kind == "reranker":
        deviation = float(outputs.std(axis=0).min())
        if deviation < 0.1:
            raise AssertionError(f"{spec.name}: logits hardly differ ({deviation})")
        return f"logits {outputs.min():.2f} to {outputs.max():.2f}, deviation {deviation:.2f}"
    unit = normalize(torch.tensor(np.unique(outputs, axis=0)).double()).numpy()
    cosines = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    if cosines.mean() >= 0.85:
        raise AssertionError(f"{spec.name}: texts look alike (mean cosine {cosines.mean()})")
    return f"mean cosine of different texts {cosines.mean():.3f}, below 0.9 in {(cosines < 0.9).mean():.0%} of pairs"


def main() -> None:
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    for spec in TINY_ENCODERS:
        if spec.twin:
            continue
        with tempfile.TemporaryDirectory() as folder:
            directory = write_tiny_encoder(spec, Path(folder) / spec.name)
            inputs = sequences(spec, directory)
            reference = gte_outputs if spec.config["model_type"] == "new" else transformers_outputs
            outputs = reference(spec, directory, inputs)
        if not np.isfinite(outputs).all():
            raise AssertionError(f"{spec.name}: not finite")
        path = save_golden(spec.name, inputs, outputs)
        longest = max(len(one.ids) for one in inputs)
        print(
            f"{spec.name}: {len(inputs)} inputs up to {longest}, {spread(spec, outputs)}, {path.stat().st_size} bytes"
        )
    print(f"all: {sum(path.stat().st_size for path in FOLDER.glob('*.npz'))} bytes")


if __name__ == "__main__":
    main()
