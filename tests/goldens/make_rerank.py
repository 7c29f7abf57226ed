"""Write rerank/*.npz: transformers' logits of one query with documents of every kind. Run by scripts/goldens."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from tests.checkpoints_encoders import write_tiny_encoder
from tests.goldens.make_encoders import transformers_outputs
from tests.goldens.rerank import RERANKERS, pairs, save_golden


def main() -> None:
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    for spec in RERANKERS:
        with tempfile.TemporaryDirectory() as folder:
            directory = write_tiny_encoder(spec, Path(folder) / spec.name)
            _, inputs = pairs(spec, directory)
            logits = transformers_outputs(spec, directory, inputs)[:, 0]
        lengths = [len(one.ids) for one in inputs]
        at = [lengths[place] for place in (-4, -3, -2)]
        if at != [spec.limit - 1, spec.limit, spec.limit] or logits.std() < 0.1:
            raise AssertionError(f"{spec.name}: lengths {at}, deviation {logits.std()}")
        path = save_golden(spec.name, lengths, logits)
        print(f"{spec.name}: {len(lengths)} documents, {lengths.count(spec.limit)} at the limit, {path.stat().st_size}")


if __name__ == "__main__":
    main()
