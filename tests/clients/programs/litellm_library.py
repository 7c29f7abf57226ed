"""litellm as a library: embedding and rerank by every provider that can be pointed elsewhere."""

from __future__ import annotations

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is fetched

import litellm
from reporting import MODEL, RERANKER, failures, pack, report, task

given = task()
URL, KEYED, KEY = os.environ["SEKISHO_URL"], os.environ["KEYED_URL"], os.environ["KEY"]
litellm.suppress_debug_info = True

#: Provider → what is put behind the server's address.
EMBEDDING = {
    "openai": "/v1",
    "hosted_vllm": "/v1",
    "infinity": "",
    "voyage": "/v1",
    "xinference": "/v1",
    "openai_like": "/v1",
    "lm_studio": "/v1",
    "litellm_proxy": "/v1",
    "jina_ai": "/v1",
    "cohere": "/v2/embed",
    "huggingface": "",
}
RERANK = {
    "hosted_vllm": "",
    "infinity": "/infinity",
    "jina_ai": "",
    "cohere": "",
    "litellm_proxy": "",
    "voyage": "/v1/rerank",
    "huggingface": "",
}
MORE = {"huggingface": {"input_type": "feature-extraction"}}


def embed(provider, texts, url=URL, key="unused", model=MODEL, **more):
    answer = litellm.embedding(
        f"{provider}/{model}", input=texts, api_base=url + EMBEDDING[provider], api_key=key,
        **{**MORE.get(provider, {}), **more},
    )  # fmt: skip
    return {
        "vectors": pack([one["embedding"] for one in answer.data]),
        "indices": [one["index"] for one in answer.data],
    }


def ranked(provider, texts=given["documents"], query=given["query"], url=URL, key="unused", model=RERANKER, **more):
    answer = litellm.rerank(
        f"{provider}/{model}", query=query, documents=texts, api_base=url + RERANK[provider], api_key=key, **more
    )
    documents = [one.get("document") for one in answer.results]
    return {
        "ranked": [[one["index"], one["relevance_score"]] for one in answer.results],
        "texts": [one["text"] for one in documents if one is not None],
    }


def wrong_embed(provider):
    def use(call):
        model = call.strict or call.model
        url = call.url if provider != "huggingface" or model == MODEL else f"{call.url}/m/{model}"
        return embed(provider, call.texts, url, call.key or "none", model, max_retries=0)

    return use


def wrong_rank(provider):
    def use(call):
        model = call.strict or call.model
        url = call.url if provider != "huggingface" or model == RERANKER else f"{call.url}/m/{model}"
        return ranked(provider, call.texts, "hello", url, call.key or "none", model)

    return use


steps = {}
for provider in EMBEDDING:
    steps |= {
        f"{provider} embedding": lambda provider=provider: embed(provider, given["few"]),
        f"{provider} keyed embedding": lambda provider=provider: embed(provider, given["few"], KEYED, KEY),
    }
for provider in RERANK:
    steps |= {
        f"{provider} rerank": lambda provider=provider: ranked(provider),
        f"{provider} top": lambda provider=provider: ranked(provider, top_n=3),
        f"{provider} keyed rerank": lambda provider=provider: ranked(provider, url=KEYED, key=KEY),
    }
steps["dimensions"] = lambda: embed("hosted_vllm", given["few"], model="minilm-cut", dimensions=128)
for provider in ("openai", "hosted_vllm", "cohere", "huggingface"):
    steps |= failures(wrong_embed(provider), f"embedding {provider}/")
for provider in ("hosted_vllm", "jina_ai", "cohere", "voyage", "huggingface"):
    steps |= failures(wrong_rank(provider), f"rerank {provider}/", ranks=True)
report(steps)
