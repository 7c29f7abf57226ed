"""Write prompts/*.npz: what sentence-transformers gives where `include_prompt` is false. Run by scripts/goldens.

Each text alone, in float32 on the CPU.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from tests.goldens.prompts import NAMES, PROMPTS, save_golden, texts, write


def main() -> None:
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            directory = write(name, Path(folder) / name, reference=True)
            model = SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": torch.float32})
            made = [model.encode(texts(), prompt=prompt, batch_size=1) for prompt in PROMPTS]
            outputs = np.stack(made).astype(np.float32)
            model.set_pooling_include_prompt(True)
            whole = np.stack([model.encode(texts(), prompt=prompt, batch_size=1) for prompt in PROMPTS])
            told = np.abs(outputs - whole).max(axis=(1, 2))
            if told[0] or told[1:].min() < 1e-2:
                raise AssertionError(f"{name}: leaving the prompt out changes {told}")
            if not np.isfinite(outputs).all():
                raise AssertionError(f"{name}: not finite")
            print(f"{name}: {save_golden(name, outputs).stat().st_size} bytes")


if __name__ == "__main__":
    main()
