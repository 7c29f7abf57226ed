"""Embed and rerank with the voyageai package.

pip install voyageai
python examples/voyage_sdk.py
"""

from __future__ import annotations

import os

import voyageai

client = voyageai.Client(
    api_key=os.environ.get("SEKISHO_API_KEY", "unused"),
    base_url=os.environ.get("SEKISHO_URL", "http://127.0.0.1:8000") + "/v1",
    max_retries=2,  # it does not try again unless it is told to
)
documents = [
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
    "Bread needs flour, water, salt and time.",
    "A sourdough loaf is baked in a hot oven.",
]

# For a model with prompts say which side a text is on: input_type="query" or "document".
answer = client.embed(documents, model=os.environ.get("EMBEDDING_MODEL", "all-minilm-l6-v2"))
print(f"{len(answer.embeddings)} vectors of {len(answer.embeddings[0])} dimensions, {answer.total_tokens} tokens")

# Name a reranker of your registry: the default here is an embedding model, which ranks by cosine.
answer = client.rerank(
    "How do I bake a loaf?", documents, model=os.environ.get("RERANK_MODEL", "all-minilm-l6-v2"), top_k=2
)
for result in answer.results:
    print(f"{result.relevance_score:.4f}  {documents[result.index]}")
