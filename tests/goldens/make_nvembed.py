"""Write tiny-nvembed/*.npz: what transformers' Mistral and PyTorch's own layers give for tests/checkpoints_nvembed.py.

Run by scripts/goldens. NV-Embed's class is in no release of transformers, and no remote code is run: the decoder is
transformers' with a mask that hides nothing, the head is put together here from PyTorch's modules under the names the
checkpoint has, so that `load_state_dict` says whether any is missing.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from torch import nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention
from transformers import MistralConfig, MistralModel

from tests.checkpoints_nvembed import TINY_NVEMBEDS, TinyNvEmbed, decoder_of, tiny_nvembed_weights, write_tiny_nvembed
from tests.goldens.nvembed import NvEmbedGolden, inputs, save_golden

HEAD = "latent_attention_model."


class Asking(nn.Module):  # type: ignore[misc]  # torch is not in the environment mypy sees
    """Attention over the latents, with the norms of both sides."""

    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.norm, self.norm_context = nn.LayerNorm(width), nn.LayerNorm(width)
        self.heads = heads
        self.fn = nn.ModuleDict(
            {
                "to_q": nn.Linear(width, heads * size, bias=False),
                "to_kv": nn.Linear(width, 2 * heads * size, bias=False),
                "to_out": nn.Linear(heads * size, width, bias=False),
            }
        )

    def forward(self, x: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        keys, values = self.fn["to_kv"](self.norm_context(latents)).chunk(2, dim=-1)
        query = self.fn["to_q"](self.norm(x))
        split = [part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in (query, keys, values)]
        return self.fn["to_out"](scaled_dot_product_attention(*split).transpose(-2, -3).flatten(-2))


class Gated(nn.Module):  # type: ignore[misc]  # torch is not in the environment mypy sees
    """The gated layer; `net.1` is its activation, which has no weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = nn.ModuleDict(
            {"net": nn.ModuleDict({"0": nn.Linear(width, 8 * width), "2": nn.Linear(4 * width, width)})}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grown, gate = self.fn["net"]["0"](self.norm(x)).chunk(2, dim=-1)
        return self.fn["net"]["2"](grown * gelu(gate))


class Head(nn.Module):  # type: ignore[misc]  # torch is not in the environment mypy sees
    """Both, each added to what came in."""

    def __init__(self, spec: TinyNvEmbed) -> None:
        super().__init__()
        latent = spec.latent
        self.latents = nn.Parameter(torch.zeros(latent["num_latents_value"], latent["latent_dim"]))
        asking = Asking(latent["latent_dim"], latent["num_cross_heads"], latent["cross_dim_head"])
        self.cross_attend_blocks = nn.ModuleList([asking, Gated(latent["latent_dim"])])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        asking, gated = self.cross_attend_blocks
        x = asking(x, self.latents) + x
        return gated(x) + x


def reference(spec: TinyNvEmbed, ids: list[list[int]], left: list[int]) -> list[torch.Tensor]:
    """One vector a text, each text alone."""
    weights = {name: torch.tensor(tensor) for name, tensor in stored(spec).items()}
    config = {key: value for key, value in decoder_of(spec).config.items() if key != "model_type"}
    body = MistralModel(MistralConfig(**config)).eval()
    body.load_state_dict(own(weights, "embedding_model."))
    head = Head(spec).eval()
    head.load_state_dict(own(weights, HEAD))
    rows = []
    for one, skipped in zip(ids, left, strict=True):
        everything = torch.zeros(1, 1, len(one), len(one))
        hidden = head(body(input_ids=torch.tensor([one]), attention_mask=everything).last_hidden_state[0])
        row = hidden[skipped if spec.masks_instruction else 0 :].mean(dim=0)
        rows.append(normalize(row, dim=0) if spec.normalized else row)
    return rows


def own(weights: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def stored(spec: TinyNvEmbed) -> dict[str, Any]:
    """Rounded to the file's number format."""
    weights = tiny_nvembed_weights(spec)
    if spec.dtype == "BF16":
        return {name: (t.astype("<f4").view("<u4") >> 16 << 16).view("<f4") for name, t in weights.items()}
    return {name: t.astype("<f2" if spec.dtype == "F16" else "<f4").astype("<f4") for name, t in weights.items()}


def main() -> None:
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for spec in TINY_NVEMBEDS:
            directory = write_tiny_nvembed(spec, Path(folder) / spec.name)
            ids, left = inputs(directory, spec.limit)
            if not any(left) or any(skipped >= len(one) for one, skipped in zip(ids, left, strict=True)):
                raise AssertionError(f"{spec.name}: instructions that fill the model, or none")
            outputs = np.stack([row.numpy() for row in reference(spec, ids, left)]).astype(np.float32)
            if not np.isfinite(outputs).all():
                raise AssertionError(f"{spec.name}: not finite")
            size = save_golden(spec.name, NvEmbedGolden(ids, left, outputs)).stat().st_size
            print(f"{spec.name}: {len(ids)} texts up to {max(map(len, ids))}, {size} bytes")


if __name__ == "__main__":
    main()
