"""Search a few texts with huggingface_hub, for which Sekisho is a text-embeddings-inference server.

pip install huggingface_hub numpy
python examples/huggingface_sdk.py
"""

from __future__ import annotations

import os

from huggingface_hub import InferenceClient

URL = os.environ.get("SEKISHO_URL", "http://127.0.0.1:8000")
MODEL = os.environ.get("EMBEDDING_MODEL", "all-minilm-l6-v2")

# This client sends no model's name: it stands in the address. Left out, it is the server's default model.
client = InferenceClient(base_url=f"{URL}/m/{MODEL}", token=os.environ.get("SEKISHO_API_KEY", "unused"))

documents = [
    "The checkpoint on the old highway closed at sunset.",
    "Embeddings place similar texts close to each other.",
    "Bread needs flour, water, salt and time.",
    "A sourdough loaf is baked in a hot oven.",
]
question = "How do I bake a loaf?"

# A numpy array of float32. A model with prompts would be told more: prompt_name="query".
vectors = client.feature_extraction(documents)
asked = client.feature_extraction(question)[0]
print(f"{len(vectors)} vectors of {vectors.shape[1]} dimensions")

# The vectors have length one, so their dot product is their cosine.
scores = vectors @ asked
for row in scores.argsort()[::-1][:2]:
    print(f"{scores[row]:.4f}  {documents[row]}")
