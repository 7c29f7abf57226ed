"""sentence-transformers' SentenceTransformer, as its documentation uses it, in the environment of the goldens.

`python sentence_transformer.py CHECKPOINT`: reads a JSON line {"texts"} from stdin, writes one {"seconds",
"rows_base64", "tokens"}; the first line of its own says that the model is loaded.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import Any


def _answer(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    texts = given["texts"]
    began = time.perf_counter()
    rows = model.encode(texts, show_progress_bar=False)
    seconds = time.perf_counter() - began
    tokens = int(model.tokenize(texts)["attention_mask"].sum())
    return {
        "seconds": seconds,
        "rows_base64": base64.b64encode(rows.astype("<f4").tobytes()).decode(),
        "tokens": tokens,
    }


def main() -> None:
    """Until stdin ends."""
    from sentence_transformers import SentenceTransformer  # not in the project's own environment

    model = SentenceTransformer(sys.argv[1], device="cpu")
    print(json.dumps({"ready": True, "max_tokens": model.max_seq_length}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(model, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
