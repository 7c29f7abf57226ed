"""Embed and rerank with infinity_client.

pip install infinity_client
python examples/infinity_sdk.py
"""

from __future__ import annotations

import os

from infinity_client import AuthenticatedClient
from infinity_client.api.default import embeddings, rerank
from infinity_client.models import OpenAIEmbeddingInputText, RerankInput

# Without raise_on_unexpected_status an error is None, and what the server said is lost.
client = AuthenticatedClient(
    os.environ.get("SEKISHO_URL", "http://127.0.0.1:8000"),
    os.environ.get("SEKISHO_API_KEY", "unused"),
    raise_on_unexpected_status=True,
)
documents = [
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
    "Bread needs flour, water, salt and time.",
    "A sourdough loaf is baked in a hot oven.",
]

model = os.environ.get("EMBEDDING_MODEL", "all-minilm-l6-v2")
answer = embeddings.sync(client=client, body=OpenAIEmbeddingInputText(input_=documents, model=model))
print(f"{len(answer.data)} vectors of {len(answer.data[0].embedding)} dimensions, {answer.usage.total_tokens} tokens")

# Name a reranker of your registry: the default here is an embedding model, which ranks by cosine.
# To get documents back (return_documents=True) put /infinity behind the server's address.
reranker = os.environ.get("RERANK_MODEL", "all-minilm-l6-v2")
body = RerankInput(query="How do I bake a loaf?", documents=documents, model=reranker, top_n=2)
for result in rerank.sync(client=client, body=body).results:
    print(f"{result.relevance_score:.4f}  {documents[result.index]}")
