"""Sekisho: text in, right vectors out. An OpenAI-compatible embeddings and rerank gateway."""

__version__ = "0.1.0"
