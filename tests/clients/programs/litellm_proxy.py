"""The openai package through a litellm proxy (PROXY_URL) that stands in front of the server."""

from __future__ import annotations

import json
import os
import urllib.request

import openai
from reporting import failures, pack, report, task

given = task()
PROXY = os.environ["PROXY_URL"]
client = openai.OpenAI(base_url=f"{PROXY}/v1", api_key="sk-of-the-proxy", max_retries=0)


def embed(texts, model="vectors", **more):
    answer = client.embeddings.create(input=texts, model=model, **more)
    return {
        "vectors": pack([one.embedding for one in answer.data]),
        "indices": [one.index for one in answer.data],
        "tokens": answer.usage.prompt_tokens,
    }


def ranked(model, documents=given["documents"], path="/v1/rerank", **more):
    body = {"model": model, "query": given["query"], "documents": documents, **more}
    head = {"content-type": "application/json", "authorization": "Bearer sk-of-the-proxy"}
    request = urllib.request.Request(PROXY + path, json.dumps(body).encode(), head)
    with urllib.request.urlopen(request, timeout=60) as answer:
        results = json.load(answer)["results"]
    return {
        "ranked": [[one["index"], one["relevance_score"]] for one in results],
        "texts": [one["document"]["text"] for one in results if one.get("document")],
    }


def wrong(call):
    """The model's name says which server the proxy asks."""
    names = {os.environ["SEKISHO_URL"]: "vectors", os.environ["KEYED_URL"]: "wrong-key", os.environ["TINY_URL"]: "busy"}
    model = call.strict or ("misspelt" if call.model == "no-such-model" else names[call.url])
    return embed(call.texts, model)


report(
    {
        "texts": lambda: embed(given["texts"]),
        "string": lambda: embed(given["few"][0]),
        "float": lambda: embed(given["texts"], encoding_format="float"),
        "by vllm": lambda: embed(given["texts"], "vectors-by-vllm"),
        "flat token ids": lambda: embed(given["token_ids"][0]),
        "nested token ids": lambda: embed(given["token_ids"]),
        "nested token ids by vllm": lambda: embed(given["token_ids"], "vectors-by-vllm"),
        "keyed": lambda: embed(given["few"], "keyed"),
        "rerank by vllm": lambda: ranked("reranker-by-vllm"),
        "rerank returned": lambda: ranked("reranker-by-cohere", return_documents=True),
        "rerank by cohere": lambda: ranked("reranker-by-cohere"),
        "rerank by jina": lambda: ranked("reranker-by-jina"),
        "rerank on /v2": lambda: ranked("reranker-by-cohere", path="/v2/rerank", top_n=3),
        "models": lambda: [model.id for model in client.models.list()],
        **failures(wrong, "litellm proxy"),
    }
)
