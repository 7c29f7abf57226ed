"""What a server's counters say of the time of a load."""

from __future__ import annotations

from sekisho.bench.server import Served

_NAMES = (
    "sekisho_tokens_total",
    "sekisho_padded_tokens_total",
    "sekisho_attention_places_total",
    "sekisho_batches_total",
)


class Counted:
    """Since it was made."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._before = self._now()

    def padding(self) -> float:
        """Tokens that were computed on ÷ real ones."""
        real, run, _, _ = self._since()
        return run / real

    def places(self) -> float:
        """Places that attention saw ÷ real tokens."""
        real, _, places, _ = self._since()
        return places / real

    def batches(self) -> float:
        """How many were run."""
        return self._since()[-1]

    def _since(self) -> list[float]:
        return [now - before for now, before in zip(self._now(), self._before, strict=True)]

    def _now(self) -> list[float]:
        return [self._served.metric(name) for name in _NAMES]
