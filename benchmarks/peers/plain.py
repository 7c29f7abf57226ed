"""An embeddings server as most teams write their first: FastAPI, a sync route, ONNX Runtime with dynamic int8.

`MODEL` is the checkpoint's directory (for its tokenizer), `GRAPH` the quantised graph, which plain_quantize.py makes.
Texts of a request are one batch, padded to the longest; requests share nothing but the session.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer

_MAX_TOKENS = 256

app = FastAPI()
tokenizer = Tokenizer.from_file(str(Path(os.environ["MODEL"], "tokenizer.json")))
tokenizer.enable_truncation(_MAX_TOKENS)
tokenizer.enable_padding()
session = ort.InferenceSession(os.environ["GRAPH"], providers=["CPUExecutionProvider"])
names = [node.name for node in session.get_inputs()]


class EmbeddingRequest(BaseModel):
    """The fields of OpenAI's request that matter here."""

    input: str | list[str]
    model: str = "all-minilm-l6-v2"
    encoding_format: Literal["float", "base64"] = "float"


def embed(texts: list[str]) -> tuple[np.ndarray, int]:
    """(float32 [texts, 384] of length 1, tokens without padding)."""
    encoded = tokenizer.encode_batch(texts)
    given = {
        "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
        "attention_mask": np.array([one.attention_mask for one in encoded], dtype=np.int64),
        "token_type_ids": np.array([one.type_ids for one in encoded], dtype=np.int64),
    }
    hidden = session.run(None, {name: given[name] for name in names})[0]
    mask = given["attention_mask"][:, :, None].astype(np.float32)
    rows = (hidden * mask).sum(axis=1) / np.clip(mask.sum(axis=1), 1e-9, None)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows, int(mask.sum())


@app.post("/v1/embeddings")
def embeddings(request: EmbeddingRequest) -> dict[str, Any]:
    """OpenAI's embeddings."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    rows, tokens = embed(texts)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(row.tobytes()).decode()
            if request.encoding_format == "base64"
            else row.tolist(),
        }
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": request.model, "usage": usage}


@app.get("/health")
def health() -> dict[str, str]:
    """The model is loaded before the server listens."""
    return {"status": "ok"}
