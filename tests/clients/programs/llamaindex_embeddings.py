"""LlamaIndex: OpenAIEmbedding, OpenAILikeEmbedding and TextEmbeddingsInference."""

from __future__ import annotations

import os

from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from reporting import MODEL, failures, pack, report, task

given = task()
URL, KEYED, KEY = os.environ["SEKISHO_URL"], os.environ["KEYED_URL"], os.environ["KEY"]


def openai(url=URL, key="unused", model=MODEL, **more):
    # `model=` takes OpenAI's own names only.
    return OpenAIEmbedding(model_name=model, api_base=f"{url}/v1", api_key=key, **more)


def like(url=URL, key="fake", model=MODEL, **more):
    return OpenAILikeEmbedding(model_name=model, api_base=f"{url}/v1", api_key=key, **more)


def tei(url=URL, key=None, model="", **more):
    base = f"{url}/m/{model}" if model else url
    return TextEmbeddingsInference(model_name="any", base_url=base, auth_token=key, **more)


def documents(embedding, texts):
    return {"vectors": pack(embedding.get_text_embedding_batch(texts))}


def queries(embedding, texts):
    return {"vectors": pack([embedding.get_query_embedding(text) for text in texts])}


def prompted(kind):
    return {"additional_kwargs": {"extra_body": {"input_type": kind}}, "model": "minilm-prompts"}


def wrong_openai(make):
    def use(call):
        more = {"additional_kwargs": {"extra_body": {"truncate": False}}} if call.strict else {}
        embedding = make(call.url, call.key or "none", call.model, max_retries=0, **more)
        return embedding.get_text_embedding_batch(call.texts)

    return use


def wrong_tei(call):
    model = "" if call.model == MODEL else call.model
    return tei(call.url, call.key, model, truncate_text=not call.strict).get_text_embedding_batch(call.texts)


report(
    {
        f"{name}: {step}": run
        for name, make in (("OpenAIEmbedding", openai), ("OpenAILikeEmbedding", like), ("TextEmbeddingsInference", tei))
        for step, run in {
            "documents": lambda make=make: documents(make(), given["texts"]),
            "queries": lambda make=make: queries(make(), given["few"]),
            "keyed": lambda make=make: documents(make(KEYED, KEY), given["few"]),
        }.items()
    }
    | {
        "OpenAIEmbedding: query prompt": lambda: queries(openai(**prompted("query")), given["few"]),
        "OpenAILikeEmbedding: query prompt": lambda: queries(like(**prompted("query")), given["few"]),
        "TextEmbeddingsInference: query prompt": lambda: queries(
            tei(f"{URL}/m/minilm-prompts", query_instruction="query:"), given["few"]
        ),
        "OpenAIEmbedding: dimensions": lambda: documents(openai(model="minilm-cut", dimensions=128), given["few"]),
        "OpenAILikeEmbedding: dimensions": lambda: documents(like(model="minilm-cut", dimensions=128), given["few"]),
        **failures(wrong_openai(openai), "OpenAIEmbedding"),
        **failures(wrong_openai(like), "OpenAILikeEmbedding"),
        **failures(wrong_tei, "TextEmbeddingsInference"),
    }
)
