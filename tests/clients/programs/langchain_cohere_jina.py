"""LangChain's CohereEmbeddings, CohereRerank and JinaRerank."""

from __future__ import annotations

import os
import warnings

import langchain_community.document_compressors.jina_rerank as jina
from langchain_cohere import CohereEmbeddings, CohereRerank
from langchain_core.documents import Document
from reporting import MODEL, RERANKER, failures, pack, report, task

given = task()
URL = os.environ["SEKISHO_URL"]


def cohere_embeddings(url=URL, key="unused", model=MODEL, **more):
    return CohereEmbeddings(base_url=url, cohere_api_key=key, model=model, max_retries=1, **more)


def cohere_rerank(url=URL, key="unused", model=RERANKER, **more):
    return CohereRerank(base_url=url, cohere_api_key=key, model=model, **more)


def jina_rerank(url=URL, key="unused", model=RERANKER, **more):
    # The class has no parameter for it.
    jina.JINA_API_URL = f"{url}/v1/rerank"
    return jina.JinaRerank(jina_api_key=key, model=model, **more)


def ranked(reranker, **more):
    return [
        [one["index"], one["relevance_score"]] for one in reranker.rerank(given["documents"], given["query"], **more)
    ]


def compressed(reranker):
    """As a retriever uses it."""
    documents = [Document(text, metadata={"row": row}) for row, text in enumerate(given["documents"])]
    found = reranker.compress_documents(documents, given["query"])
    return {
        "ranked": [[one.metadata["row"], one.metadata["relevance_score"]] for one in found],
        "texts": [one.page_content for one in found],
    }


def embed(call):
    # No parameter says "refuse": `truncate="NONE"` is Cohere's word for it.
    truncate = "NONE" if call.strict else None
    return cohere_embeddings(call.url, call.key or "none", call.model, truncate=truncate).embed_documents(call.texts)


def rank(make):
    def use(call):
        return make(call.url, call.key or "none", call.strict or call.model).rerank(call.texts, "hello")

    return use


warnings.simplefilter("ignore")
report(
    {
        "documents": lambda: {"vectors": pack(cohere_embeddings().embed_documents(given["texts"]))},
        "queries": lambda: {"vectors": pack([cohere_embeddings().embed_query(text) for text in given["few"]])},
        "prompted documents": lambda: {
            "vectors": pack(cohere_embeddings(model="minilm-prompts").embed_documents(given["few"]))
        },
        "prompted queries": lambda: {
            "vectors": pack([cohere_embeddings(model="minilm-prompts").embed_query(text) for text in given["few"]])
        },
        "cohere rerank": lambda: ranked(cohere_rerank(), top_n=None),
        "cohere rerank compressed": lambda: compressed(cohere_rerank()),
        "jina rerank": lambda: ranked(jina_rerank(), top_n=None),
        "jina rerank compressed": lambda: compressed(jina_rerank()),
        "keyed embeddings": lambda: {
            "vectors": pack(cohere_embeddings(os.environ["KEYED_URL"], os.environ["KEY"]).embed_documents(given["few"]))
        },
        "keyed cohere rerank": lambda: ranked(cohere_rerank(os.environ["KEYED_URL"], os.environ["KEY"]), top_n=None),
        "keyed jina rerank": lambda: ranked(jina_rerank(os.environ["KEYED_URL"], os.environ["KEY"]), top_n=None),
        **failures(embed, "CohereEmbeddings"),
        **failures(rank(cohere_rerank), "CohereRerank", ranks=True),
        **failures(rank(jina_rerank), "JinaRerank", ranks=True),
    }
)
