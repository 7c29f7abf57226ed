"""Answer a question from a few texts with LangChain: find by vectors, then rerank.

pip install langchain-openai langchain-cohere
python examples/langchain_sdk.py
"""

from __future__ import annotations

import os

from langchain_cohere import CohereRerank
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import OpenAIEmbeddings

URL = os.environ.get("SEKISHO_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("SEKISHO_API_KEY", "unused")

# As it comes, OpenAIEmbeddings sends token ids of OpenAI's tokenizer, and Sekisho turns them back into text: nothing
# has to be set. tiktoken loads its table from the internet once. On a machine without it, or to have texts beyond
# 8,191 tokens cut instead of averaged, send plain text: check_embedding_ctx_length=False.
# A model with prompts would be told more: model_kwargs={"extra_body": {"input_type": "query"}}.
embeddings = OpenAIEmbeddings(
    model=os.environ.get("EMBEDDING_MODEL", "all-minilm-l6-v2"),
    base_url=f"{URL}/v1",
    api_key=KEY,
)

# Any vector store of LangChain takes `embeddings` as it is.
store = InMemoryVectorStore.from_texts(
    [
        "The checkpoint on the old highway closed at sunset.",
        "Embeddings place similar texts close to each other.",
        "Bread needs flour, water, salt and time.",
        "A sourdough loaf is baked in a hot oven.",
    ],
    embeddings,
)
question = "How do I bake a loaf?"
found = store.similarity_search(question, k=3)

# Cohere's class speaks to Sekisho too; its base URL has no /v1. Name a reranker of your registry: the default here
# is an embedding model, which ranks by cosine.
reranker = CohereRerank(
    model=os.environ.get("RERANK_MODEL", "all-minilm-l6-v2"),
    base_url=URL,
    cohere_api_key=KEY,
    top_n=2,
)
for document in reranker.compress_documents(found, question):
    print(f"{document.metadata['relevance_score']:.4f}  {document.page_content}")
