"""Sekisho: text in, right vectors out. An OpenAI-compatible embeddings and rerank gateway."""

from sekisho.silence import silence

__version__ = "0.1.0"

silence()
