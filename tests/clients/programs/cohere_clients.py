"""The cohere package: Client (its first version) and ClientV2."""

from __future__ import annotations

import os

import cohere
from reporting import MODEL, RERANKER, failures, pack, report, task

given = task()
URL = os.environ["SEKISHO_URL"]
EVERY_TYPE = ["float", "int8", "uint8", "binary", "ubinary"]
ONCE = {"max_retries": 0}


def first(url=URL, key="unused"):
    return cohere.Client(key, base_url=url)


def second(url=URL, key="unused"):
    return cohere.ClientV2(key, base_url=url)


def types_of(answer):
    """Each type's numbers as they came; floats packed."""
    by_type = {name: getattr(answer.embeddings, name if name != "float" else "float_") for name in EVERY_TYPE}
    return {"vectors": pack(by_type.pop("float"))} | by_type


def embed_first(texts, **more):
    return first().embed(texts=texts, model=more.pop("model", MODEL), **more)


def embed_second(texts, **more):
    kind = more.pop("input_type", "search_document")
    return second().embed(
        texts=texts, model=more.pop("model", MODEL), input_type=kind, **{"embedding_types": ["float"], **more}
    )


def with_inputs():
    inputs = [{"content": [{"type": "text", "text": text}]} for text in given["few"]]
    answer = second().embed(inputs=inputs, model=MODEL, input_type="search_query", embedding_types=["float"])
    return {"vectors": pack(answer.embeddings.float_)}


def ranked(client, **more):
    asked = {"query": given["query"], "documents": given["documents"], "model": RERANKER}
    answer = client.rerank(**(asked | more))
    return [[one.index, one.relevance_score] for one in answer.results]


def returned():
    """Version 1 sends documents back when asked."""
    answer = first().rerank(
        query=given["query"], documents=[{"text": text} for text in given["documents"]], model=RERANKER, top_n=4,
        return_documents=True,
    )  # fmt: skip
    return {
        "ranked": [[one.index, one.relevance_score] for one in answer.results],
        "texts": [one.document.text for one in answer.results],
    }


def embeds(make):
    def use(call):
        more = {"truncate": "NONE"} if call.strict else {}
        if make is second:
            more |= {"embedding_types": ["float"]}
        return make(call.url, call.key or "none").embed(
            texts=call.texts, model=call.model, input_type="search_document", request_options=ONCE, **more
        )

    return use


def ranks(make):
    def use(call):
        return make(call.url, call.key or "none").rerank(
            query="hello", documents=call.texts, model=call.strict or call.model, request_options=ONCE
        )

    return use


report(
    {
        "v1 floats": lambda: {"vectors": pack(embed_first(given["texts"]).embeddings)},
        "v1 types": lambda: types_of(embed_first(given["few"], embedding_types=EVERY_TYPE)),
        "v1 query": lambda: {
            "vectors": pack(embed_first(given["few"], model="minilm-prompts", input_type="search_query").embeddings)
        },
        "v1 document": lambda: {
            "vectors": pack(embed_first(given["few"], model="minilm-prompts", input_type="search_document").embeddings)
        },
        "v2 floats": lambda: {"vectors": pack(embed_second(given["texts"]).embeddings.float_)},
        "v2 types": lambda: types_of(embed_second(given["few"], embedding_types=EVERY_TYPE)),
        "v2 base64": lambda: embed_second(given["few"], embedding_types=["base64"]).embeddings.base64,
        "v2 inputs": with_inputs,
        "v2 query": lambda: {
            "vectors": pack(
                embed_second(given["few"], model="minilm-prompts", input_type="search_query").embeddings.float_
            )
        },
        "v2 document": lambda: {"vectors": pack(embed_second(given["few"], model="minilm-prompts").embeddings.float_)},
        "v2 dimensions": lambda: {
            "vectors": pack(embed_second(given["few"], model="minilm-cut", output_dimension=128).embeddings.float_)
        },
        "v1 rerank": lambda: ranked(first()),
        "v2 rerank": lambda: ranked(second()),
        "v1 top": lambda: ranked(first(), top_n=3),
        "v2 top": lambda: ranked(second(), top_n=3),
        "v1 returned": returned,
        "v1 keyed": lambda: ranked(first(os.environ["KEYED_URL"], os.environ["KEY"])),
        "v2 keyed": lambda: ranked(second(os.environ["KEYED_URL"], os.environ["KEY"])),
        "v2 by vectors": lambda: ranked(second(), query=given["asked"], documents=given["sentences"], model=MODEL),
        **failures(embeds(first), "Client.embed"),
        **failures(ranks(first), "Client.rerank", ranks=True),
        **failures(embeds(second), "ClientV2.embed"),
        **failures(ranks(second), "ClientV2.rerank", ranks=True),
    }
)
