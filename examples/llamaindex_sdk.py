"""Search a few texts with LlamaIndex: an index of vectors, then a reranker.

pip install llama-index-core llama-index-embeddings-openai-like llama-index-postprocessor-cohere-rerank
python examples/llamaindex_sdk.py
"""

from __future__ import annotations

import os

from llama_index.core import Document, VectorStoreIndex
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.postprocessor.cohere_rerank import CohereRerank

URL = os.environ.get("SEKISHO_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("SEKISHO_API_KEY", "unused")

# It sends 10 texts at a time unless told otherwise; the server likes them in large requests.
embedding = OpenAILikeEmbedding(
    model_name=os.environ.get("EMBEDDING_MODEL", "all-minilm-l6-v2"),
    api_base=f"{URL}/v1",
    api_key=KEY,
    embed_batch_size=256,
)
documents = [
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
    "Bread needs flour, water, salt and time.",
    "A sourdough loaf is baked in a hot oven.",
]
index = VectorStoreIndex.from_documents([Document(text=text) for text in documents], embed_model=embedding)

# Name a reranker of your registry: the default here is an embedding model, which ranks by cosine.
reranker = CohereRerank(model=os.environ.get("RERANK_MODEL", "all-minilm-l6-v2"), base_url=URL, api_key=KEY, top_n=2)
question = "How do I bake a loaf?"
found = index.as_retriever(similarity_top_k=3).retrieve(question)
for node in reranker.postprocess_nodes(found, query_str=question):
    print(f"{node.score:.4f}  {node.text}")
