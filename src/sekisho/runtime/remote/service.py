"""Where a model is served."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Service:
    """Where a model is served, and how it may be called.

    name: ours, for messages. model: its name there. urls: one a replica. key_env: the variable that `key` is from.
    concurrency: most calls under way, over all replicas. retries: attempts after the first.
    """

    name: str
    model: str
    urls: tuple[str, ...]
    key: str | None = field(repr=False)
    key_env: str | None
    timeout_seconds: float
    concurrency: int
    retries: int
