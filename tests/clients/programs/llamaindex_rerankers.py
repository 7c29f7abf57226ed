"""LlamaIndex: the postprocessors JinaRerank, CohereRerank and TextEmbeddingInference."""

from __future__ import annotations

import os

from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from reporting import RERANKER, failures, report, task

given = task()
URL, KEYED, KEY = os.environ["SEKISHO_URL"], os.environ["KEYED_URL"], os.environ["KEY"]
ALL = len(given["documents"])


def jina(url=URL, key="unused", model=RERANKER, **more):
    return JinaRerank(model=model, base_url=f"{url}/v1", api_key=key, **more)


def cohere(url=URL, key="unused", model=RERANKER, **more):
    return CohereRerank(model=model, base_url=url, api_key=key, **more)


def tei(url=URL, key=None, model="", **more):
    return TextEmbeddingInference(base_url=f"{url}/m/{model}" if model else url, auth_token=key, **more)


def ranked(reranker, documents=given["documents"], query=given["query"]):
    nodes = [NodeWithScore(node=TextNode(text=text, id_=str(row)), score=0) for row, text in enumerate(documents)]
    found = reranker.postprocess_nodes(nodes, QueryBundle(query))
    return {"ranked": [[int(one.node_id), one.score] for one in found], "texts": [one.text for one in found]}


def wrong(make):
    def use(call):
        model = call.strict or call.model
        return ranked(make(call.url, call.key or "none", "" if (make, model) == (tei, RERANKER) else model), call.texts)

    return use


CLASSES = {"JinaRerank": jina, "CohereRerank": cohere, "TextEmbeddingInference": tei}
steps = {}
for name, make in CLASSES.items():
    steps |= {
        f"{name}: all": lambda make=make: ranked(make(top_n=ALL)),
        f"{name}: default": lambda make=make: ranked(make()),
        f"{name}: keyed": lambda make=make: ranked(make(KEYED, KEY, top_n=ALL)),
    }
    steps |= failures(wrong(make), name, ranks=True)
report(steps)
