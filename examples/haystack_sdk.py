"""Search a few texts with Haystack: a pipeline that embeds, retrieves and ranks.

pip install haystack-ai cohere-haystack
python examples/haystack_sdk.py
"""

from __future__ import annotations

import os

from haystack import Document, Pipeline
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker

URL = os.environ.get("SEKISHO_URL", "http://127.0.0.1:8000")
KEY = Secret.from_token(os.environ.get("SEKISHO_API_KEY", "unused"))
embedding = {
    "model": os.environ.get("EMBEDDING_MODEL", "all-minilm-l6-v2"),
    "api_base_url": f"{URL}/v1",
    "api_key": KEY,
}

# Without raise_on_failure the document embedder logs an error and goes on without vectors.
texts = [
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
    "Bread needs flour, water, salt and time.",
    "A sourdough loaf is baked in a hot oven.",
]
embedder = OpenAIDocumentEmbedder(**embedding, progress_bar=False, raise_on_failure=True)
store = InMemoryDocumentStore(embedding_similarity_function="cosine")
store.write_documents(embedder.run([Document(content=text) for text in texts])["documents"])

# Name a reranker of your registry: the default here is an embedding model, which ranks by cosine.
search = Pipeline()
search.add_component("embedder", OpenAITextEmbedder(**embedding))
search.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=3))
search.add_component(
    "ranker",
    CohereRanker(model=os.environ.get("RERANK_MODEL", "all-minilm-l6-v2"), api_base_url=URL, api_key=KEY, top_k=2),
)
search.connect("embedder.embedding", "retriever.query_embedding")
search.connect("retriever.documents", "ranker.documents")

question = "How do I bake a loaf?"
found = search.run({"embedder": {"text": question}, "ranker": {"query": question}})
for document in found["ranker"]["documents"]:
    print(f"{document.score:.4f}  {document.content}")
