"""Write tiny-m3/: what FlagEmbedding computes from bge-m3's two linear layers, for tests/checkpoints_m3.py.

Run by scripts/goldens. torch itself reads the layers, and writes the ones that tests of the reader are fed with.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from tests.checkpoints_m3 import BASE, TINY_M3S, TinyM3, write_tiny_m3
from tests.goldens.m3 import FOLDER, save_golden, some_texts


def write_reference(spec: TinyM3, directory: Path) -> None:
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(BASE.limit)
    ids = [tokenizer.encode(text).ids for text in some_texts()]
    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    layers = {}
    for name, width in (("sparse", 1), ("colbert", spec.width)):
        layers[name] = torch.nn.Linear(BASE.config["hidden_size"], width)
        layers[name].load_state_dict(torch.load(directory / f"{name}_linear.pt", weights_only=True))
    sparse, colbert = [], []
    for own in ids:
        hidden = model(input_ids=torch.tensor([own])).last_hidden_state[0]
        sparse.append(np.asarray(torch.relu(layers["sparse"](hidden))[:, 0]))
        colbert.append(np.asarray(torch.nn.functional.normalize(layers["colbert"](hidden[1:]), dim=-1)))
    shown = np.concatenate(sparse)
    if not 0.1 < (shown > 0).mean() < 0.9:
        raise AssertionError(f"{spec.name}: weights are all zero, or none is")
    save_golden(spec.name, ids, sparse, colbert)
    print(f"{spec.name}: {len(ids)} texts, {len(shown)} tokens, {(shown > 0).mean():.0%} with a weight")


def write_layers() -> None:
    """A layer in each number format, as torch.save writes it, and its numbers; one whose weight lies transposed."""
    torch.manual_seed(7)
    layer = torch.nn.Linear(5, 3)
    np.savez_compressed(FOLDER / "layer.npz", weight=layer.weight.detach().numpy(), bias=layer.bias.detach().numpy())
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        torch.save(layer.to(dtype).state_dict(), FOLDER / f"layer-{str(dtype).rsplit('.', 1)[-1]}.pt")
    state = torch.nn.Linear(4, 4).state_dict()
    torch.save({"weight": state["weight"].T, "bias": state["bias"]}, FOLDER / "transposed.pt")


def main() -> None:
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    FOLDER.mkdir(exist_ok=True)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for spec in TINY_M3S:
            write_reference(spec, write_tiny_m3(spec, Path(folder) / spec.name))
        write_layers()
    print(f"all: {sum(path.stat().st_size for path in FOLDER.iterdir())} bytes")


if __name__ == "__main__":
    main()
