"""What runs next: a pure decision over the waiting jobs.

A batch costs something to start, then its tokens, then what attention makes of its padding (`BatchCost`, measured by
`runtime/measuring.py`), so the best batch is the one that pays least for each real token. It always holds the oldest
job of its class, so nothing starves; short interactive requests go first, and bulk gets every few turns. There is no
timer: a batch is whatever has gathered while the last one ran.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sekisho.runtime.batch_cost import BatchCost

#: How much of a batch's start is charged when it is chosen. A job that is left out is not lost: it finds nearer
#: neighbours among those that come. A simulated queue of 16, 64 and 256 clients with one text each, lengths log-normal
#: around 46 tokens, gets most done at half, and pads less (at 64: 1.07 padded ÷ real tokens; at all of it 1.12).
_CHARGED = 0.5


#: How long bulk may keep a lane from interactive requests that are about; tokens of its batches then: the least as a
#: multiple of what starting one costs, and where nothing was measured.
_YIELDING_SECONDS, _YIELDING_STARTS, _YIELDING_USUAL = 0.03, 3, 192

#: Where padding is cheap, short requests are batched among this share of those that wait, the older ones, and among so
#: many at least: what is left out waits for fewer batches. Simulated for 64 and 256 clients with a text each, share of
#: the ideal and p99 in ms: among all 0.882, 379 and 0.917, 1,563; three quarters 0.875, 344 and 0.913, 1,429; half
#: 0.864, 318 and 0.910, 1,251; a third 0.851, 286 and 0.902, 1,090.
_OLDER_PART, _FEWEST = 0.75, 12


@dataclass(frozen=True)
class Limits:
    """batch_tokens: most work in a batch, in tokens: padded ones (longest × rows), or of a packed graph the real ones
        and what attention costs; a single longer job still runs, alone.
    yielding_tokens: the same for bulk while interactive requests are about, which wait for what runs before them.
    cost: what a batch costs.
    window: how many of the oldest jobs are looked at.
    bulk_every: while both classes wait, one batch in this many is bulk.
    """

    batch_tokens: int = 1024
    yielding_tokens: int = _YIELDING_USUAL
    cost: BatchCost = field(default_factory=BatchCost)
    window: int = 256
    bulk_every: int = 4

    @property
    def worth_sharing(self) -> int:
        """A batch of less is not divided between lanes: starting the second would cost an eighth of it."""
        return math.ceil(8 * self.cost.fixed)


def bulk_is_next(interactive: int, bulk: int, interactive_run: int, limits: Limits) -> bool:
    """Whether the next batch is taken from the bulk jobs.

    interactive, bulk: jobs waiting in each class; interactive_run: interactive batches since the last bulk one.
    """
    return bool(bulk) and (not interactive or interactive_run >= limits.bulk_every - 1)


def reach(requests: Sequence[object], limits: Limits, *, bulk: bool) -> int:
    """Among how many of the oldest jobs of a class the next batch is chosen.

    requests: what each of them belongs to, oldest first; a request is not parted by it, as its texts are of one age.
    """
    if bulk or not limits.cost.packed:
        return limits.window
    count = max(_FEWEST, math.ceil(len(requests) * _OLDER_PART))
    while count < min(len(requests), limits.window) and requests[count] is requests[count - 1]:
        count += 1
    return min(limits.window, count)


def yielding_tokens(tokens_per_second: float, cost: BatchCost) -> int:
    """Most work of a bulk batch while interactive requests are about, which wait for it.

    tokens_per_second: of a lane. As long as starting it is not the better part of its cost.
    """
    lasting = round(_YIELDING_SECONDS * tokens_per_second)
    return max(lasting, math.ceil(_YIELDING_STARTS * cost.fixed))


def budget(waiting_tokens: int, idle_lanes: int, limits: Limits, *, yielding: bool) -> int:
    """Most work of the next batch: what idle lanes could run at the same time is left for them.

    waiting_tokens: of the class that is next; yielding: it is bulk, and interactive requests are about.
    """
    most = limits.yielding_tokens if yielding else limits.batch_tokens
    share = math.ceil(waiting_tokens / (idle_lanes + 1))
    return min(most, limits.batch_tokens, max(share, limits.worth_sharing))


def choose(lengths: Sequence[int], limits: Limits, most_tokens: int | None = None) -> list[int]:
    """Indices of the jobs of the next batch, shortest first.

    lengths: tokens of the waiting jobs of one class, oldest first. The oldest is always chosen.
    most_tokens: in place of `limits.batch_tokens`.
    """
    if len(lengths) == 1:
        return [0]
    within = np.maximum(lengths[: limits.window], 1)  # no token at all is run as one of padding
    order = np.argsort(within, kind="stable")
    ordered = within[order]
    oldest = int(np.flatnonzero(order == 0)[0])
    before = np.concatenate(([0], np.cumsum(ordered)))
    # Every run of neighbours that holds the oldest: first ≤ oldest ≤ last.
    first, last = np.arange(oldest + 1)[:, None], np.arange(oldest, len(ordered))[None, :]
    real = before[last + 1] - before[first]
    work = limits.cost.work(real, last - first + 1, ordered[last])
    cost = (_CHARGED * limits.cost.fixed + work) / real
    cost[work > (limits.batch_tokens if most_tokens is None else most_tokens)] = np.inf
    cost[oldest, 0] = min(cost[oldest, 0], np.finfo(np.float64).max)  # alone it runs, however long it is
    low, high = np.unravel_index(np.argmin(cost), cost.shape)
    return [int(index) for index in order[low : oldest + high + 1]]
