"""The columns of the matrix: what a person imports, from which package, in which environment it is tried.

A new client is its pins in requirements/NAME.in (`scripts/clients --lock`, then `scripts/clients NAME`; beginning with
`# in every test run` where it is small), a program in programs/ that reports what it got, a column here, tests of the
values, an example, and its line in docs/clients.md. `scripts/client-matrix` writes the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.clients.environments import versions_of


@dataclass(frozen=True)
class Column:
    """family: the heading it stands under. package: the distribution it comes from; empty for what has none.

    program: what tries it, in tests/clients/programs; its steps about errors begin with `prefix`.
    part_of: the column that shows it, where it has none of its own but errors of its own.
    """

    family: str
    title: str
    environment: str
    package: str
    program: str = ""
    prefix: str = ""
    part_of: str = ""

    @property
    def version(self) -> str:
        return versions_of(self.environment)[self.package] if self.package else ""

    @property
    def distribution(self) -> str:
        """`cohere 7.3.1`."""
        return f"{self.package.removeprefix('npm:')} {self.version}".strip()


def _openai() -> dict[str, Column]:
    return {name: Column("OpenAI", "openai", name, "openai") for name in ("openai3", "openai2", "openai1")} | {
        "openai-node": Column("OpenAI", "openai (npm)", "node", "npm:openai", "node_clients.mjs", "openai")
    }


def _langchain() -> dict[str, Column]:
    def column(title: str, package: str, program: str) -> Column:
        return Column("LangChain", title, "langchain", package, program, title)

    cohere_jina, infinity_hub = "langchain_cohere_jina.py", "langchain_infinity_hub.py"
    return {
        "langchain": column("OpenAIEmbeddings", "langchain-openai", "langchain_openai_errors.py"),
        "langchain-cohere-embeddings": column("CohereEmbeddings", "langchain-cohere", cohere_jina),
        "langchain-cohere-rerank": column("CohereRerank", "langchain-cohere", cohere_jina),
        "langchain-jina-rerank": column("JinaRerank", "langchain-community", cohere_jina),
        "langchain-infinity-embeddings": column("InfinityEmbeddings", "langchain-community", infinity_hub),
        "langchain-infinity-rerank": column("InfinityRerank", "langchain-community", infinity_hub),
        "langchain-endpoint": column("HuggingFaceEndpointEmbeddings", "langchain-huggingface", infinity_hub),
        "langchain-node": Column(
            "LangChain", "OpenAIEmbeddings (npm)", "node", "npm:@langchain/openai", "node_clients.mjs",
            "OpenAIEmbeddings",
        ),
    }  # fmt: skip


def _llamaindex() -> dict[str, Column]:
    def column(title: str, package: str, program: str) -> Column:
        return Column("LlamaIndex", title, "llamaindex", f"llama-index-{package}", program, title)

    vectors, rerankers = "llamaindex_embeddings.py", "llamaindex_rerankers.py"
    return {
        "llamaindex-openai": column("OpenAIEmbedding", "embeddings-openai", vectors),
        "llamaindex-openai-like": column("OpenAILikeEmbedding", "embeddings-openai-like", vectors),
        "llamaindex-tei": column("TextEmbeddingsInference", "embeddings-text-embeddings-inference", vectors),
        "llamaindex-jina-rerank": column("JinaRerank", "postprocessor-jinaai-rerank", rerankers),
        "llamaindex-cohere-rerank": column("CohereRerank", "postprocessor-cohere-rerank", rerankers),
        "llamaindex-tei-rerank": column("TextEmbeddingInference", "postprocessor-tei-rerank", rerankers),
    }


def _haystack() -> dict[str, Column]:
    def column(title: str, package: str, prefix: str = "") -> Column:
        program = "haystack_embedders.py" if prefix else "haystack_rankers.py"
        return Column("Haystack", title, "haystack", package, program, prefix or title)

    return {
        "haystack-openai": column("OpenAI…Embedder", "haystack-ai", "OpenAIEmbedder"),
        "haystack-jina": column("Jina…Embedder", "jina-haystack", "JinaEmbedder"),
        "haystack-cohere": column("Cohere…Embedder", "cohere-haystack", "CohereEmbedder"),
        "haystack-hub": column("HuggingFaceAPI…Embedder", "huggingface-api-haystack", "HuggingFaceAPIEmbedder"),
        "haystack-jina-ranker": column("JinaRanker", "jina-haystack"),
        "haystack-cohere-ranker": column("CohereRanker", "cohere-haystack"),
        "haystack-hub-ranker": column("HuggingFaceTEIRanker", "huggingface-api-haystack"),
    }


def _cohere() -> dict[str, Column]:
    return {
        f"cohere{major}-{title}": Column(
            "Cohere", f"{title}, cohere {major}", environment, "cohere", "cohere_clients.py", title
        )
        for major, environment in ((7, "cohere"), (5, "langchain"))
        for title in ("Client.embed", "Client.rerank", "ClientV2.embed", "ClientV2.rerank")
    }


def _litellm() -> dict[str, Column]:
    program = "litellm_library.py"
    embedding = ("openai/", "hosted_vllm/", "cohere/", "huggingface/")
    rerank = ("hosted_vllm/", "jina_ai/", "cohere/", "voyage/", "huggingface/")
    return {
        "litellm": Column("litellm", "litellm, every provider", "litellm", "litellm"),
        "litellm-proxy": Column("litellm", "the proxy", "litellm", "litellm", "litellm_proxy.py", "litellm proxy"),
        **{
            f"litellm-{kind}-{one}": Column(
                "litellm", f"{kind} {one}", "litellm", "litellm", program, f"{kind} {one}", part_of="litellm"
            )
            for kind, names in (("embedding", embedding), ("rerank", rerank))
            for one in names
        },
    }


def _others() -> dict[str, Column]:
    hub = ("hub_client.py", "InferenceClient")
    return {
        "voyage-embed": Column("Voyage", "Client.embed", "cohere", "voyageai", "voyage_client.py", "embed"),
        "voyage-rerank": Column("Voyage", "Client.rerank", "cohere", "voyageai", "voyage_client.py", "rerank"),
        "hub2": Column("Hugging Face", "InferenceClient, 2", "cohere", "huggingface-hub", *hub),
        "hub1": Column("Hugging Face", "InferenceClient, 1", "langchain", "huggingface-hub", *hub),
        "infinity-embeddings": Column(
            "Infinity", "embeddings", "langchain", "infinity-client", "infinity_package.py", "embeddings"
        ),
        "infinity-rerank": Column(
            "Infinity", "rerank", "langchain", "infinity-client", "infinity_package.py", "rerank"
        ),
        "curl": Column("curl", "curl", "", ""),
    }


COLUMNS: dict[str, Column] = {
    **_openai(), **_langchain(), **_llamaindex(), **_haystack(), **_cohere(), **_litellm(), **_others(),
}  # fmt: skip

#: The headings, in their order.
FAMILIES = tuple(dict.fromkeys(column.family for column in COLUMNS.values()))


#: Those that the matrix shows.
SHOWN = [name for name, column in COLUMNS.items() if not column.part_of]


def with_errors() -> Iterator[str]:
    """Columns whose errors are gathered as tests/clients/test_client_errors.py does it."""
    return (name for name, column in COLUMNS.items() if column.program)
