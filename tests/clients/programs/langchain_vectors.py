"""langchain-openai's OpenAIEmbeddings: as it comes, and with plain texts for comparison."""

from __future__ import annotations

import asyncio
import os

import openai
import tiktoken
from langchain_openai import OpenAIEmbeddings
from reporting import pack, report, task

#: What LangChain cuts at (`embedding_ctx_length`).
PIECE = 8191
given = task()


class Recording:
    """The openai client inside LangChain, with a note of what goes through."""

    def __init__(self, inner):
        self.inner = inner
        self.inputs = []

    def create(self, **arguments):
        self.inputs.append(arguments["input"])
        return self.inner.create(**arguments)


def embeddings(**more):
    return OpenAIEmbeddings(base_url=os.environ["SEKISHO_URL"] + "/v1", api_key="unused", **more)


def plain():
    return embeddings(check_embedding_ctx_length=False)


def documents(client, texts):
    client.client = recording = Recording(client.client)
    vectors = pack(client.embed_documents(texts))
    return {"vectors": vectors, "sent": [_form(sent) for sent in recording.inputs]}


def _form(sent):
    if isinstance(sent, str):
        return "a string"
    return "lists of token ids" if isinstance(sent[0], list) else "strings"


def queries(client, texts):
    return {"vectors": pack([client.embed_query(text) for text in texts])}


def in_parallel():
    async def run():
        client = embeddings()
        return await asyncio.gather(*(client.aembed_query(text) for text in given["texts"]))

    return {"vectors": pack(asyncio.run(run()))}


def pieces():
    """For each long text how many tokens its pieces hold and, sent as plain text, their vectors."""
    encoding = tiktoken.get_encoding("cl100k_base")
    found = []
    for text in given["long"]:
        ids = encoding.encode_ordinary(text)
        parts = [ids[start : start + PIECE] for start in range(0, len(ids), PIECE)]
        texts = [encoding.decode(part, errors="replace") for part in parts]
        cut = sum(b"\xef\xbf\xbd".decode() in piece for piece in texts)
        vectors = pack(plain().embed_documents(texts))
        found.append({"tokens": [len(part) for part in parts], "inside a character": cut, "vectors": vectors})
    return found


def unknown_model():
    try:
        embeddings(model="no-such-model").embed_query("hello")
    except openai.NotFoundError as error:
        return str(error)
    return None


report(
    {
        "documents": lambda: documents(embeddings(), given["texts"]),
        "queries": lambda: queries(embeddings(), given["texts"]),
        "named": lambda: documents(embeddings(model="all-minilm-l6-v2"), given["texts"]),
        "plain documents": lambda: documents(plain(), given["texts"]),
        "plain queries": lambda: queries(plain(), given["texts"]),
        "parallel": in_parallel,
        "dimensions": lambda: documents(embeddings(model="minilm-cut", dimensions=128), given["texts"]),
        "prompt": lambda: documents(
            embeddings(model="minilm-prompts", model_kwargs={"extra_body": {"input_type": "query"}}), given["texts"]
        ),
        "long documents": lambda: documents(embeddings(), given["long"]),
        "long queries": lambda: queries(embeddings(), given["long"]),
        "pieces": pieces,
        "unknown model": unknown_model,
    }
)
