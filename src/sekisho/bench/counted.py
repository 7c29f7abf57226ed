"""What a server's counters say of the time of a load."""

from __future__ import annotations

from sekisho.bench.server import Served

_NAMES = ("sekisho_tokens_total", "sekisho_padded_tokens_total", "sekisho_batches_total")


class Counted:
    """Since it was made."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._before = self._now()

    def padding(self) -> float:
        """Padded ÷ real tokens."""
        (real, padded, _), (real_then, padded_then, _) = self._now(), self._before
        return (padded - padded_then) / (real - real_then)

    def batches(self) -> float:
        """How many were run."""
        return self._now()[2] - self._before[2]

    def _now(self) -> list[float]:
        return [self._served.metric(name) for name in _NAMES]
