"""The reference export: a sentence-transformers checkpoint → model_fp32.onnx and tokenizer/, by PyTorch's own exporter.

    scripts/reference scripts/export_onnx.py [--model DIR_OR_ID] [--out DIR]

Pooling and L2 normalisation are part of the graph; its one output, sentence_embedding, is the vector. Batch and
sequence are free. What was written is run against PyTorch before it is called done. See docs/reference-export.md.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import transformers

log = logging.getLogger("export_onnx")

DEFAULT_MODEL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
MODEL_FILE = "model_fp32.onnx"
TOKENIZER_DIRECTORY = "tokenizer"
OUTPUT = "sentence_embedding"
OPSET = 17
#: The largest difference between the graph and PyTorch in any element of a vector of length one.
TOLERANCE = 1e-4

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt"]
_OTHER_FORMATS = ["onnx/*", "openvino/*"]
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
}
_TRACED = ["動的計画法", "A city needs water, and water needs a city."]
_CHECKED = [
    "深さ優先探索",
    "short",
    "木漏れ日の中を歩く。 The train stops at every station on its way to the sea. " * 100,
]


def _mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def _max(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(hidden.dtype).min).amax(1)


def _cls(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    first = mask.argmax(1)  # of equal values the first, so this holds for padding on either side
    return hidden[torch.arange(hidden.shape[0]), first]


def _last(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    last = mask.cumsum(1).argmax(1)
    return hidden[torch.arange(hidden.shape[0]), last]


_POOLING: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cls": _cls,
    "lasttoken": _last,
    "max": _max,
    "mean": _mean,
}


class SentenceEmbedding(torch.nn.Module):  # type: ignore[misc]  # torch may be absent where types are checked
    """Encoder, pooling and L2 normalisation as one module."""

    def __init__(self, encoder: torch.nn.Module, names: list[str], pooling: str) -> None:
        super().__init__()
        self.encoder = encoder
        self._names = names
        self._pool = _POOLING[pooling]

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Inputs in the order of the names → vectors of length one."""
        named = dict(zip(self._names, inputs, strict=True))
        hidden = self.encoder(**named, return_dict=True).last_hidden_state
        return torch.nn.functional.normalize(self._pool(hidden, named["attention_mask"]), p=2, dim=1)


def fetch(model: str, revision: str | None) -> Path:
    """The checkpoint's directory: `model` itself, or what the hub has under that name."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    log.info("fetching %s", model)
    return Path(snapshot_download(model, revision=revision, allow_patterns=_FILES, ignore_patterns=_OTHER_FORMATS))


def read_pooling(checkpoint: Path) -> str:
    """What 1_Pooling says, mean where it is absent. Raises ValueError for what the graph would not hold."""
    path = "1_Pooling"
    if (checkpoint / "modules.json").is_file():
        for module in _read(checkpoint / "modules.json"):
            kind = module["type"].rsplit(".", 1)[-1]
            if kind == "Pooling":
                path = module["path"]
            elif kind not in {"Transformer", "Normalize"}:
                raise ValueError(f"modules.json asks for {kind}, which this export does not know")
    if not (checkpoint / path / "config.json").is_file():
        log.info("pooling: mean (the checkpoint has no %s/config.json)", path)
        return "mean"
    config = _read(checkpoint / path / "config.json")
    asked = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    found = config.get("pooling_mode") or (_FLAGS.get(asked[0]) if len(asked) == 1 else None)
    if found not in _POOLING:
        raise ValueError(f"{path}/config.json asks for {found or asked}; one of {sorted(_POOLING)} is supported")
    log.info("pooling: %s (%s/config.json)", found, path)
    return str(found)


def longest(checkpoint: Path, config: Any, tokenizer: Any) -> int:
    """The longest input in tokens, special ones included."""
    path = checkpoint / "sentence_bert_config.json"
    stated = _read(path).get("max_seq_length") if path.is_file() else None
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    return int(min(stated or tokenizer.model_max_length, tokenizer.model_max_length, positions))


def export(checkpoint: Path, out: Path, opset: int = OPSET) -> None:
    """Write model_fp32.onnx and tokenizer/ into `out`. Raises ValueError where that cannot be done or is not right."""
    if not (checkpoint / "config.json").is_file():
        raise ValueError(f"{checkpoint} holds no config.json, so no checkpoint")
    pooling = read_pooling(checkpoint)
    log.info("loading the model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} has no tokenizer.json")
    # Eager attention holds for every mask; the others take short cuts that a trace would freeze.
    encoder = transformers.AutoModel.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    )
    limit = longest(checkpoint, encoder.config, tokenizer)
    accepted = inspect.signature(encoder.forward).parameters
    names = [name for name in tokenizer.model_input_names if name in accepted]
    model = SentenceEmbedding(encoder, names, pooling).eval()
    log.info("inputs: %s; at most %d tokens", ", ".join(names), limit)

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as temporary:
        staging = Path(temporary)
        log.info("exporting, opset %d", opset)
        _trace(model, _inputs(tokenizer, names, _TRACED, limit), names, staging / MODEL_FILE, opset)
        log.info("onnx.checker")
        onnx.checker.check_model(str(staging / MODEL_FILE), full_check=True)
        log.info("running both: ONNX Runtime and PyTorch")
        dimension = _compare(model, staging / MODEL_FILE, tokenizer, names, limit)
        for file in staging.iterdir():
            os.replace(file, out / file.name)
    # What the file itself says counts for whoever reads it with the tokenizers library alone.
    tokenizer.model_max_length = limit
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.enable_truncation(limit)
    tokenizer.save_pretrained(out / TOKENIZER_DIRECTORY)
    if not (out / TOKENIZER_DIRECTORY / "tokenizer.json").is_file():
        raise ValueError(f"{type(tokenizer).__name__} wrote no tokenizer.json")
    size = sum(path.stat().st_size for path in out.glob(MODEL_FILE + "*"))
    log.info("done: %s (%.1f MB, %d dimensions)", out / MODEL_FILE, size / 1e6, dimension)
    log.info("done: %s", out / TOKENIZER_DIRECTORY)


def _inputs(tokenizer: Any, names: list[str], texts: list[str], limit: int) -> tuple[torch.Tensor, ...]:
    batch = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
    return tuple(batch[name] for name in names)


def _trace(
    model: SentenceEmbedding, inputs: tuple[torch.Tensor, ...], names: list[str], path: Path, opset: int
) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about branches that the check below covers
        torch.onnx.export(
            model,
            inputs,
            str(path),
            input_names=names,
            output_names=[OUTPUT],
            dynamic_axes={**{name: {0: "batch", 1: "sequence"} for name in names}, OUTPUT: {0: "batch"}},
            opset_version=opset,
            dynamo=False,
        )


def _compare(model: SentenceEmbedding, path: Path, tokenizer: Any, names: list[str], limit: int) -> int:
    """Other batch sizes and lengths than the traced one, up to the limit."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst, dimension = 0.0, 0
    for texts in (_CHECKED[:1], _CHECKED[:2], _CHECKED):
        inputs = _inputs(tokenizer, names, texts, limit)
        with torch.no_grad():
            wanted = model(*inputs).numpy()
        given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        (vectors,) = session.run([OUTPUT], given)
        if vectors.shape != wanted.shape:
            raise ValueError(f"the graph gives the shape {vectors.shape}, PyTorch {wanted.shape}")
        worst, dimension = max(worst, float(np.abs(vectors - wanted).max())), int(wanted.shape[1])
    log.info("largest difference to PyTorch: %.1e", worst)
    if not worst <= TOLERANCE:
        raise ValueError(f"the graph is not the model: {worst:.1e} is more than {TOLERANCE:.0e}")
    return dimension


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="checkpoint directory, or its name on the hub")
    parser.add_argument("--revision", help="of a model on the hub: a commit, a tag or a branch")
    parser.add_argument("--out", type=Path, default=Path(), help="directory to write into (the current one)")
    parser.add_argument("--opset", type=int, default=OPSET)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for noisy in ("httpx", "huggingface_hub", "transformers", "torch"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        export(fetch(arguments.model, arguments.revision), arguments.out, arguments.opset)
    except (ValueError, OSError) as error:
        sys.exit(f"export_onnx.py: {error}")


if __name__ == "__main__":
    main()
