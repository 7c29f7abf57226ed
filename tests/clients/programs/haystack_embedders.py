"""Haystack: the text and document embedders of OpenAI, Jina, Cohere and text-embeddings-inference."""

from __future__ import annotations

import os

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.embedders.cohere import CohereDocumentEmbedder, CohereTextEmbedder
from haystack_integrations.components.embedders.huggingface_api import (
    HuggingFaceAPIDocumentEmbedder,
    HuggingFaceAPITextEmbedder,
)
from haystack_integrations.components.embedders.jina import JinaDocumentEmbedder, JinaTextEmbedder
from reporting import MODEL, failures, pack, report, task

given = task()
URL, KEYED, KEY = os.environ["SEKISHO_URL"], os.environ["KEYED_URL"], os.environ["KEY"]
QUIET = {"progress_bar": False}


def openai(kind, url=URL, key="unused", model=MODEL, **more):
    return kind(api_key=Secret.from_token(key), api_base_url=f"{url}/v1", model=model, **more)


def jina(kind, url=URL, key="unused", model=MODEL, **more):
    return kind(api_key=Secret.from_token(key), base_url=f"{url}/v1/embeddings", model=model, **more)


def cohere(kind, url=URL, key="unused", model=MODEL, **more):
    return kind(api_key=Secret.from_token(key), api_base_url=url, model=model, **more)


def tei(kind, url=URL, key="", model=MODEL, **more):
    address = url if model == MODEL else f"{url}/m/{model}"
    token = Secret.from_token(key) if key else None
    return kind("text_embeddings_inference", {"url": address}, token=token, **{"normalize": True, **more})


def documents(embedder, texts):
    found = embedder.run(documents=[Document(id=str(row), content=text) for row, text in enumerate(texts)])
    return {"vectors": pack([one.embedding for one in found["documents"]]), "meta": found.get("meta")}


def queries(embedder, texts):
    return {"vectors": pack([embedder.run(text=text)["embedding"] for text in texts])}


def wrong(make, kind, told, refusing):
    def use(call):
        strict = refusing if call.strict else {}
        model = call.strict if call.strict and not refusing else call.model
        return documents(make(kind, call.url, call.key or "none", model, **QUIET, **told, **strict), call.texts)

    return use


PAIRS = {
    "OpenAI": (openai, OpenAITextEmbedder, OpenAIDocumentEmbedder),
    "Jina": (jina, JinaTextEmbedder, JinaDocumentEmbedder),
    "Cohere": (cohere, CohereTextEmbedder, CohereDocumentEmbedder),
    "HuggingFaceAPI": (tei, HuggingFaceAPITextEmbedder, HuggingFaceAPIDocumentEmbedder),
}
#: How a client says that a text is not to be cut, where it can.
REFUSING = {"Cohere": {"truncate": "NONE"}, "HuggingFaceAPI": {"truncate": False}}
#: OpenAIDocumentEmbedder logs what is wrong and goes on unless it is told to raise.
TOLD = {"OpenAI": {"raise_on_failure": True, "max_retries": 0}}
steps = {}
for name, (make, text, document) in PAIRS.items():
    steps |= {
        f"{name}: documents": lambda make=make, kind=document: documents(make(kind, **QUIET), given["texts"]),
        f"{name}: queries": lambda make=make, kind=text: queries(make(kind), given["few"]),
        f"{name}: keyed": lambda make=make, kind=document: documents(make(kind, KEYED, KEY, **QUIET), given["few"]),
        **failures(wrong(make, document, TOLD.get(name, {}), REFUSING.get(name, {})), f"{name}Embedder"),
    }
steps |= {
    "OpenAI: dimensions": lambda: queries(openai(OpenAITextEmbedder, model="minilm-cut", dimensions=128), given["few"]),
    "Jina: dimensions": lambda: queries(jina(JinaTextEmbedder, model="minilm-cut", dimensions=128), given["few"]),
    "Jina: query": lambda: queries(
        jina(JinaTextEmbedder, model="minilm-prompts", task="retrieval.query"), given["few"]
    ),
    "Cohere: query": lambda: queries(cohere(CohereTextEmbedder, model="minilm-prompts"), given["few"]),
    "Cohere: document": lambda: documents(
        cohere(CohereDocumentEmbedder, model="minilm-prompts", **QUIET), given["few"]
    ),
    "HuggingFaceAPI: as it comes": lambda: queries(tei(HuggingFaceAPITextEmbedder, normalize=False), given["few"]),
}
report(steps)
