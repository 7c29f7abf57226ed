"""langchain-openai's OpenAIEmbeddings: what a person sees when something is wrong, and a key."""

from __future__ import annotations

import os

from langchain_openai import OpenAIEmbeddings
from reporting import MODEL, failures, pack, report, task

given = task()


def embeddings(url, key, model=MODEL, **more):
    return OpenAIEmbeddings(base_url=f"{url}/v1", api_key=key, model=model, max_retries=0, **more)


def embed(call):
    more = {"model_kwargs": {"extra_body": {"truncate": False}}} if call.strict else {}
    return embeddings(call.url, call.key or "none", call.model, **more).embed_documents(call.texts)


report(
    {
        "keyed": lambda: {
            "vectors": pack(embeddings(os.environ["KEYED_URL"], os.environ["KEY"]).embed_documents(given["few"]))
        },
        **failures(embed, "OpenAIEmbeddings"),
    }
)
