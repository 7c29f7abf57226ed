"""huggingface_hub's InferenceClient, which asks exactly the URL it is given, as a text-embeddings-inference server."""

from __future__ import annotations

import os

from huggingface_hub import InferenceClient
from reporting import MODEL, failures, pack, report, task

given = task()
URL = os.environ["SEKISHO_URL"]


def features(texts, url=URL, key=None, **more):
    return InferenceClient(base_url=url, token=key).feature_extraction(texts, **more)


def vectors(texts, *rest, **more):
    found = features(texts, *rest, **more)
    return {"vectors": pack(found.tolist()), "shape": list(found.shape)}


def embed(call):
    url = call.url if call.model == MODEL else f"{call.url}/m/{call.model}"
    return features(call.texts, url, call.key, **({"truncate": False} if call.strict else {}))


report(
    {
        "texts": lambda: vectors(given["texts"]),
        "string": lambda: vectors(given["few"][0]),
        "embed": lambda: vectors(given["few"], f"{URL}/embed"),
        "query": lambda: vectors(given["few"], f"{URL}/m/minilm-prompts", prompt_name="query"),
        "document": lambda: vectors(given["few"], f"{URL}/m/minilm-prompts", prompt_name="document"),
        "truncated": lambda: vectors(["word " * 300], truncate=True),
        "keyed": lambda: vectors(given["few"], os.environ["KEYED_URL"], os.environ["KEY"]),
        **failures(embed, "InferenceClient"),
    }
)
