"""sentence-transformers on a card in fp16, as its documentation advises there; in an environment with PyTorch for CUDA.

`python torch_card.py embedding|reranker CHECKPOINT DEVICE DTYPE`: reads JSON lines {"texts", "batch_size"} or {"query",
"documents"} from stdin, writes one {"seconds", "tokens", "rows_base64"} or {"seconds", "scores"} each; the first line
of its own names the device. https://sbert.net/docs/sentence_transformer/usage/efficiency.html
"""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import Any


def _embed(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    texts = given["texts"]
    began = time.perf_counter()
    rows = model.encode(texts, batch_size=given["batch_size"], show_progress_bar=False)  # a copy to the CPU waits
    seconds = time.perf_counter() - began
    tokens = sum(len(ids) for ids in model.tokenizer(texts, truncation=True)["input_ids"])
    written = base64.b64encode(rows.astype("<f4").tobytes()).decode()
    return {"seconds": seconds, "tokens": tokens, "rows_base64": written}


def _rerank(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    pairs = [(given["query"], document) for document in given["documents"]]
    began = time.perf_counter()
    scores = model.predict(pairs, show_progress_bar=False)
    return {"seconds": time.perf_counter() - began, "scores": [float(score) for score in scores]}


def main() -> None:
    """Until stdin ends."""
    import torch  # not in the project's own environment
    from sentence_transformers import CrossEncoder, SentenceTransformer

    kind, checkpoint, device, dtype = sys.argv[1:5]
    model: Any = (SentenceTransformer if kind == "embedding" else CrossEncoder)(checkpoint, device=device)
    model.to(getattr(torch, dtype))
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    print(json.dumps({"device": name, "torch": torch.__version__}), flush=True)
    for line in sys.stdin:
        answer = (_embed if kind == "embedding" else _rerank)(model, json.loads(line))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
