"""The voyageai package."""

from __future__ import annotations

import os

import voyageai
from reporting import MODEL, RERANKER, failures, pack, report, task

given = task()
URL = os.environ["SEKISHO_URL"]
TYPES = ["int8", "uint8", "binary", "ubinary"]


def client(url=URL, key="unused"):
    return voyageai.Client(api_key=key, base_url=f"{url}/v1")


def embed(texts, made=None, **more):
    answer = (made or client()).embed(texts, **{"model": MODEL, **more})
    return {"vectors": pack(answer.embeddings), "tokens": answer.total_tokens}


def ranked(made=None, **more):
    asked = {"query": given["query"], "documents": given["documents"], "model": RERANKER}
    answer = (made or client()).rerank(**(asked | more))
    return {
        "ranked": [[one.index, one.relevance_score] for one in answer.results],
        "texts": [one.document for one in answer.results],
        "tokens": answer.total_tokens,
    }


def embed_wrong(call):
    made = client(call.url, call.key or "none")
    return made.embed(call.texts, model=call.model, truncation=not call.strict)


def rank_wrong(call):
    made = client(call.url, call.key or "none")
    return made.rerank("hello", call.texts, model=call.model, truncation=not call.strict)


def keyed():
    return client(os.environ["KEYED_URL"], os.environ["KEY"])


report(
    {
        "texts": lambda: embed(given["texts"]),
        "query": lambda: embed(given["few"], model="minilm-prompts", input_type="query"),
        "document": lambda: embed(given["few"], model="minilm-prompts", input_type="document"),
        "dimensions": lambda: embed(given["few"], model="minilm-cut", output_dimension=128),
        "types": lambda: {
            name: [
                [int(number) for number in vector]
                for vector in client().embed(given["few"], model=MODEL, output_dtype=name).embeddings
            ]
            for name in TYPES
        },
        "rerank": ranked,
        "top": lambda: ranked(top_k=3),
        "keyed": lambda: embed(given["few"], keyed()),
        "keyed rerank": lambda: ranked(keyed()),
        **failures(embed_wrong, "embed"),
        **failures(rank_wrong, "rerank", ranks=True),
    }
)
