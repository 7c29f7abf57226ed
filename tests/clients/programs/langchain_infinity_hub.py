"""LangChain's InfinityEmbeddings, InfinityRerank and HuggingFaceEndpointEmbeddings."""

from __future__ import annotations

import os
import warnings

from huggingface_hub import InferenceClient
from infinity_client import Client
from langchain_community.document_compressors.infinity_rerank import InfinityRerank
from langchain_community.embeddings import InfinityEmbeddings
from langchain_core.documents import Document
from langchain_huggingface import HuggingFaceEndpointEmbeddings
from reporting import MODEL, RERANKER, failures, pack, report, task

given = task()
URL = os.environ["SEKISHO_URL"]


def infinity_embeddings(url=URL, model=MODEL):
    return InfinityEmbeddings(model=model, infinity_api_url=url)


def infinity_rerank(url=URL, key=None, model=RERANKER, **more):
    # It takes no AuthenticatedClient, and without the last one it hides what the server said.
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return InfinityRerank(client=Client(url, headers=headers, raise_on_unexpected_status=True), model=model, **more)


def endpoint(url=URL, key=None, **more):
    # As `model` a URL is refused: the class takes a client instead, which asks the URL it is given.
    embeddings = HuggingFaceEndpointEmbeddings(model="any/name", huggingfacehub_api_token="unused", **more)
    embeddings.client = InferenceClient(base_url=url, token=key)
    return embeddings


def ranked(reranker, **more):
    return [
        [one["index"], one["relevance_score"]] for one in reranker.rerank(given["documents"], given["query"], **more)
    ]


def compressed(reranker):
    documents = [Document(text, metadata={"row": row}) for row, text in enumerate(given["documents"])]
    found = reranker.compress_documents(documents, given["query"])
    return {
        "ranked": [[one.metadata["row"], one.metadata["relevance_score"]] for one in found],
        "texts": [one.page_content for one in found],
    }


def embed(call):
    return infinity_embeddings(call.url, call.strict or call.model).embed_documents(call.texts)


def rank(call):
    return infinity_rerank(call.url, call.key, call.strict or call.model).rerank(call.texts, "hello")


def embed_by_endpoint(call):
    url = call.url if call.model == MODEL else f"{call.url}/m/{call.model}"
    more = {"model_kwargs": {"truncate": False}} if call.strict else {}
    return endpoint(url, call.key, **more).embed_documents(call.texts)


warnings.simplefilter("ignore")
report(
    {
        "infinity": lambda: {"vectors": pack(infinity_embeddings().embed_documents(given["texts"]))},
        "infinity queries": lambda: {
            "vectors": pack([infinity_embeddings().embed_query(text) for text in given["few"]])
        },
        "infinity rerank": lambda: ranked(infinity_rerank(), top_n=None),
        "infinity rerank compressed": lambda: compressed(infinity_rerank()),
        "keyed infinity rerank": lambda: ranked(
            infinity_rerank(os.environ["KEYED_URL"], os.environ["KEY"]), top_n=None
        ),
        "endpoint": lambda: {"vectors": pack(endpoint().embed_documents(given["texts"]))},
        "endpoint queries": lambda: {"vectors": pack([endpoint().embed_query(text) for text in given["few"]])},
        "endpoint by name": lambda: {
            "vectors": pack(
                endpoint(f"{URL}/m/minilm-prompts", model_kwargs={"prompt_name": "query"}).embed_documents(given["few"])
            )
        },
        "keyed endpoint": lambda: {
            "vectors": pack(endpoint(os.environ["KEYED_URL"], os.environ["KEY"]).embed_documents(given["few"]))
        },
        **failures(embed, "InfinityEmbeddings"),
        **failures(rank, "InfinityRerank", ranks=True),
        **failures(embed_by_endpoint, "HuggingFaceEndpointEmbeddings"),
    }
)
