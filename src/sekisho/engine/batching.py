"""What runs next: a pure decision over the waiting jobs.

Padding is paid for, so a batch is a run of neighbours in length. It always holds the oldest job of its class, so
nothing
starves; short interactive requests go first, and bulk gets every few turns. There is no timer: a batch is whatever has
gathered while the last one ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """batch_tokens: most padded tokens (longest × rows) in a batch; a single longer job still runs, alone.

    window: how many of the oldest jobs are looked at.
    padding: padded ÷ real tokens at which a batch stops growing, once it holds `small_tokens`.
    bulk_every: while both classes wait, one batch in this many is bulk.
    """

    batch_tokens: int = 1024
    window: int = 256
    padding: float = 1.08
    small_tokens: int = 256
    bulk_every: int = 4


def bulk_is_next(interactive: int, bulk: int, interactive_run: int, limits: Limits) -> bool:
    """Whether the next batch is taken from the bulk jobs.

    interactive, bulk: jobs waiting in each class; interactive_run: interactive batches since the last bulk one.
    """
    return bool(bulk) and (not interactive or interactive_run >= limits.bulk_every - 1)


def choose(lengths: Sequence[int], limits: Limits) -> list[int]:
    """Indices of the jobs of the next batch, shortest first.

    lengths: tokens of the waiting jobs of one class, oldest first. The oldest is always chosen.
    """
    order = sorted(range(min(len(lengths), limits.window)), key=lengths.__getitem__)
    low = high = order.index(0)
    real = lengths[0]
    while True:
        grown = _grow(lengths, order, low, high, real, limits)
        if grown is None:
            return order[low : high + 1]
        low, high, real = grown


def _grow(
    lengths: Sequence[int], order: Sequence[int], low: int, high: int, real: int, limits: Limits
) -> tuple[int, int, int] | None:
    """The run order[low..high] with the neighbour that adds the least padding; None where the batch is full."""
    best: tuple[int, int, int] | None = None
    least = -1
    for new_low, new_high in ((low - 1, high), (low, high + 1)):
        if new_low < 0 or new_high >= len(order):
            continue
        added = lengths[order[new_low if new_low < low else new_high]]
        padded = lengths[order[new_high]] * (new_high - new_low + 1)
        total = real + added
        if padded > limits.batch_tokens or (padded > limits.small_tokens and padded > limits.padding * total):
            continue
        waste = padded - total
        if best is None or waste < least:
            best, least = (new_low, new_high, total), waste
    return best
