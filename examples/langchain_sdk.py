"""Search a few texts with LangChain.

pip install langchain-openai
python examples/langchain_sdk.py
"""

from __future__ import annotations

import os

from langchain_openai import OpenAIEmbeddings

# As it comes, OpenAIEmbeddings sends token ids of OpenAI's tokenizer, and Sekisho turns them back into text: nothing
# has to be set. tiktoken loads its table from the internet once. On a machine without it, or to have texts beyond
# 8,191 tokens cut instead of averaged, send plain text: check_embedding_ctx_length=False.
# A model with prompts would be told more: model_kwargs={"extra_body": {"input_type": "query"}}.
embeddings = OpenAIEmbeddings(
    model="all-minilm-l6-v2",
    base_url=os.environ.get("SEKISHO_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("SEKISHO_API_KEY", "unused"),
)

documents = [
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
    "Bread needs flour, water, salt and time.",
]

# Any vector store of LangChain takes `embeddings` as it is and calls these two itself.
vectors = embeddings.embed_documents(documents)
asked = embeddings.embed_query("How do I bake a loaf?")

# The vectors have length one, so their dot product is their cosine.
scores = [sum(a * b for a, b in zip(asked, vector, strict=True)) for vector in vectors]
for score, document in sorted(zip(scores, documents, strict=True), reverse=True):
    print(f"{score:.4f}  {document}")
