"""Search a few texts with the openai package.

pip install openai
python examples/openai_sdk.py
"""

from __future__ import annotations

import os

from openai import NotFoundError, OpenAI

# Sekisho speaks OpenAI's API: only the base URL changes. Without keys on the server, any api_key will do.
client = OpenAI(
    base_url=os.environ.get("SEKISHO_URL", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("SEKISHO_API_KEY", "unused"),
)
MODEL = os.environ.get("EMBEDDING_MODEL", "all-minilm-l6-v2")

documents = [
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
    "Bread needs flour, water, salt and time.",
]
question = "How do I bake a loaf?"

# Any number of texts fits into one request, and the vectors come in the order of the texts.
answer = client.embeddings.create(model=MODEL, input=documents)
vectors = [item.embedding for item in answer.data]
print(f"{len(vectors)} vectors of {len(vectors[0])} dimensions, {answer.usage.prompt_tokens} tokens")

# The vectors have length one, so their dot product is their cosine.
# A model with prompts would be told more: extra_body={"input_type": "query"}.
asked = client.embeddings.create(model=MODEL, input=question).data[0].embedding
scores = [sum(a * b for a, b in zip(asked, vector, strict=True)) for vector in vectors]
for score, document in sorted(zip(scores, documents, strict=True), reverse=True):
    print(f"{score:.4f}  {document}")

# The models of this server.
print("models:", ", ".join(model.id for model in client.models.list()))

# Errors are the package's own exceptions, and their text says what to do.
try:
    client.embeddings.create(model="all-minilm", input=question)
except NotFoundError as error:
    print(f"{type(error).__name__} {error.code}: {error}")
