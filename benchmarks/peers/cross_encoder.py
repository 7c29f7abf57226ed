"""sentence-transformers' CrossEncoder, as its documentation uses it, in the environment of scripts/goldens.

`python cross_encoder.py CHECKPOINT`: reads a JSON line {"query", "documents"} from stdin, writes one
{"seconds", "scores"}; the first line of its own says that the model is loaded.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def _answer(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    scores = model.predict([(given["query"], document) for document in given["documents"]], show_progress_bar=False)
    return {"seconds": time.perf_counter() - began, "scores": [float(score) for score in scores]}


def main() -> None:
    """Until stdin ends."""
    from sentence_transformers import CrossEncoder  # not in the project's own environment

    model = CrossEncoder(sys.argv[1], device="cpu")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(model, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
