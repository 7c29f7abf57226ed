"""Embed and rerank with the cohere package, version 5 or later.

pip install cohere
python examples/cohere_sdk.py
"""

from __future__ import annotations

import os

import cohere

# The base URL has no /v1: the package adds the version it speaks.
client = cohere.ClientV2(
    api_key=os.environ.get("SEKISHO_API_KEY", "unused"),
    base_url=os.environ.get("SEKISHO_URL", "http://127.0.0.1:8000"),
)
documents = [
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
    "Bread needs flour, water, salt and time.",
    "A sourdough loaf is baked in a hot oven.",
]

# `input_type` picks the model's prompt for documents or for queries; a model without prompts takes either.
# int8 and ubinary make vectors small: a quarter and a thirty-second.
answer = client.embed(
    model=os.environ.get("EMBEDDING_MODEL", "all-minilm-l6-v2"),
    texts=documents,
    input_type="search_document",
    embedding_types=["float", "int8", "ubinary"],
)
vectors = answer.embeddings
print(f"{len(vectors.float_)} vectors of {len(vectors.float_[0])} floats or {len(vectors.ubinary[0])} bytes")

# Name a reranker of your registry: the default here is an embedding model, which ranks by cosine.
answer = client.rerank(
    model=os.environ.get("RERANK_MODEL", "all-minilm-l6-v2"),
    query="How do I bake a loaf?",
    documents=documents,
    top_n=2,
)
for result in answer.results:
    print(f"{result.relevance_score:.4f}  {documents[result.index]}")
