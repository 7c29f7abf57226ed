"""Haystack: JinaRanker, CohereRanker and HuggingFaceTEIRanker."""

from __future__ import annotations

import os

from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
from haystack_integrations.components.rankers.jina import JinaRanker
from reporting import RERANKER, failures, report, task

given = task()
URL, KEYED, KEY = os.environ["SEKISHO_URL"], os.environ["KEYED_URL"], os.environ["KEY"]
ALL = len(given["documents"])


def jina(url=URL, key="unused", model=RERANKER, **more):
    return JinaRanker(model=model, api_key=Secret.from_token(key), base_url=f"{url}/v1/rerank", **more)


def cohere(url=URL, key="unused", model=RERANKER, **more):
    return CohereRanker(model=model, api_key=Secret.from_token(key), api_base_url=url, **more)


def tei(url=URL, key="unused", model=None, **more):
    # A path of the URL is dropped: it is always the server's default reranker.
    return HuggingFaceTEIRanker(url=url, token=Secret.from_token(key), **more)


def ranked(ranker, texts=given["documents"], query=given["query"]):
    documents = [Document(id=str(row), content=text) for row, text in enumerate(texts)]
    found = ranker.run(query=query, documents=documents)
    return {
        "ranked": [[int(one.id), one.score] for one in found["documents"]],
        "texts": [one.content for one in found["documents"]],
        "meta": found.get("meta"),
    }


def wrong(make):
    return lambda call: ranked(make(call.url, call.key or "none", call.strict or call.model), call.texts, "hello")


CLASSES = {"JinaRanker": jina, "CohereRanker": cohere, "HuggingFaceTEIRanker": tei}
#: The model cannot be chosen, so neither an unknown one nor one that refuses or is busy.
LEFT_OUT = {"HuggingFaceTEIRanker": ("unknown model", "too long", "overload")}
steps = {}
for name, make in CLASSES.items():
    steps |= {
        f"{name}: all": lambda make=make: ranked(make(top_k=ALL)),
        f"{name}: top": lambda make=make: ranked(make(top_k=3)),
        f"{name}: keyed": lambda make=make: ranked(make(KEYED, KEY, top_k=ALL)),
        **failures(wrong(make), name, ranks=True, leave_out=LEFT_OUT.get(name, ())),
    }
report(steps)
