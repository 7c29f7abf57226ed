"""The infinity_client package."""

from __future__ import annotations

import os

from infinity_client import AuthenticatedClient, Client
from infinity_client.api.default import embeddings, rerank
from infinity_client.models import OpenAIEmbeddingInputText, RerankInput
from reporting import MODEL, RERANKER, failures, pack, report, task

given = task()
URL = os.environ["SEKISHO_URL"]


def client(url=URL, key=None, **more):
    return AuthenticatedClient(url, key, **more) if key else Client(url, **more)


def embed(texts, made=None, model=MODEL):
    answer = embeddings.sync(client=made or client(), body=OpenAIEmbeddingInputText(input_=texts, model=model))
    return {
        "vectors": pack([one.embedding for one in answer.data]),
        "indices": [one.index for one in answer.data],
        "tokens": answer.usage.total_tokens,
    }


def ranked(made=None, **more):
    asked = {"query": given["query"], "documents": given["documents"], "model": RERANKER}
    answer = rerank.sync(client=made or client(), body=RerankInput(**(asked | more)))
    return {
        "ranked": [[one.index, one.relevance_score] for one in answer.results],
        "texts": [one.document for one in answer.results if one.document],
        "tokens": answer.usage.total_tokens,
    }


def embed_wrong(call):
    made = client(call.url, call.key, raise_on_unexpected_status=True)
    return embed(call.texts, made, call.strict or call.model)


def rank_wrong(call):
    made = client(call.url, call.key, raise_on_unexpected_status=True)
    return ranked(made, query="hello", documents=call.texts, model=call.strict or call.model)


def keyed():
    return client(os.environ["KEYED_URL"], os.environ["KEY"])


report(
    {
        "texts": lambda: embed(given["texts"]),
        "rerank": ranked,
        "returned": lambda: ranked(client(f"{URL}/infinity"), return_documents=True),
        "keyed": lambda: embed(given["few"], keyed()),
        "keyed rerank": lambda: ranked(keyed()),
        **failures(embed_wrong, "embeddings"),
        **failures(rank_wrong, "rerank", ranks=True),
    }
)
