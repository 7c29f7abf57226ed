"""What a server's counters say of the time of a load."""

from __future__ import annotations

from sekisho.bench.server import Served

_NAMES = (
    "sekisho_tokens_total",
    "sekisho_padded_tokens_total",
    "sekisho_attention_places_total",
)
_ROWS = "sekisho_batch_rows"


class Counted:
    """Since it was made."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._before = self._now()
        self._batches_before = served.buckets(_ROWS)

    def padding(self) -> float:
        """Tokens that were computed on ÷ real ones."""
        real, run, _ = self._since()
        return run / real

    def places(self) -> float:
        """Places that attention saw ÷ real tokens."""
        real, _, places = self._since()
        return places / real

    def batches(self) -> list[tuple[float, float]]:
        """How many were run of how many texts: upper bounds, and how many lie between each and the one before."""
        more = [
            (bound, now - before)
            for (bound, now), (_, before) in zip(self._served.buckets(_ROWS), self._batches_before, strict=True)
        ]
        below = [0.0, *(count for _, count in more)]
        return [(bound, count - less) for (bound, count), less in zip(more, below, strict=False)]

    def _since(self) -> list[float]:
        return [now - before for now, before in zip(self._now(), self._before, strict=True)]

    def _now(self) -> list[float]:
        return [self._served.metric(name) for name in _NAMES]
