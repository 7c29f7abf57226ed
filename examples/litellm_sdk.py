"""Embed and rerank with litellm. A litellm proxy in front of Sekisho takes the same names: see docs/clients.md.

pip install litellm
python examples/litellm_sdk.py
"""

from __future__ import annotations

import os

import litellm

URL = os.environ.get("SEKISHO_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("SEKISHO_API_KEY", "unused")
documents = [
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
    "Bread needs flour, water, salt and time.",
    "A sourdough loaf is baked in a hot oven.",
]

# `hosted_vllm/` passes every parameter on; `openai/` refuses `dimensions` for models it does not know.
model = os.environ.get("EMBEDDING_MODEL", "all-minilm-l6-v2")
answer = litellm.embedding(f"hosted_vllm/{model}", input=documents, api_base=f"{URL}/v1", api_key=KEY)
print(f"{len(answer.data)} vectors of {len(answer.data[0]['embedding'])} dimensions")

# Name a reranker of your registry: the default here is an embedding model, which ranks by cosine.
reranker = os.environ.get("RERANK_MODEL", "all-minilm-l6-v2")
answer = litellm.rerank(
    f"hosted_vllm/{reranker}",
    query="How do I bake a loaf?",
    documents=documents,
    top_n=2,
    api_base=URL,
    api_key=KEY,
)
for result in answer.results:
    print(f"{result['relevance_score']:.4f}  {documents[result['index']]}")
