"""What is measured: a server, the same model in this process, and the texts for both; and how much of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sekisho.bench.ideal import Ideal, part
from sekisho.bench.load import Kept, sampled
from sekisho.bench.load import send as send_plan
from sekisho.bench.plan import Endpoint, Load, Plan
from sekisho.bench.server import Served
from sekisho.contract import Tokens

#: Tokens a second of all-MiniLM-L6-v2 on two cores with bfloat16: with a slower model, fewer texts are sent.
_FULL_SPEED = 10_000
#: How long the ideal runs between two loads.
_IDEAL_SECONDS = 1.5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """How many texts, rounds and seconds. `bulk` is of the texts of a bulk load, and so on.

    concurrencies: of the curve of cost with load. mixed: texts of the job beside single queries.
    lasting: texts after which memory is judged. starts: of the process. duel_…: beside another server.
    """

    rounds: int = 5
    bulk: int = 1536
    single: int = 1024
    alone: int = 128
    short: int = 1000
    curve: int = 384
    concurrencies: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    curve_rounds: int = 5
    mixed: int = 10_000
    mixed_seconds: float = 3
    mixed_rounds: int = 3
    lasting: int = 100_000
    starts: int = 5
    duel_rounds: int = 3
    duel_seconds: float = 4

    def of_rounds(self, rounds: int) -> Sizes:
        """As often, everything that is measured several times."""
        return replace(self, rounds=rounds, curve_rounds=rounds, mixed_rounds=rounds, starts=rounds, duel_rounds=rounds)

    def at(self, tokens_per_second: float) -> Sizes:
        """The same for a model of that speed: never more texts, and as many as the loads need to be what they are."""
        share = min(1.0, tokens_per_second / _FULL_SPEED)

        def fewer(count: int, least: int) -> int:
            return min(count, max(least, round(count * share)))

        return replace(
            self,
            bulk=fewer(self.bulk, 512),
            single=fewer(self.single, 256),
            alone=fewer(self.alone, 32),
            short=fewer(self.short, 256),
            curve=fewer(self.curve, 64),
            mixed=fewer(self.mixed, 500),
            lasting=fewer(self.lasting, 1000),
        )


#: Everything once, on few texts: whether it works, and no more.
QUICK = Sizes(
    rounds=1,
    bulk=64,
    single=64,
    alone=16,
    short=32,
    curve=16,
    concurrencies=(1, 16),
    curve_rounds=1,
    mixed=64,
    mixed_seconds=0.2,
    mixed_rounds=1,
    lasting=256,
    starts=1,
    duel_rounds=1,
    duel_seconds=0.2,
)


@dataclass
class Stand:
    """One server beside its ideal. `kept` gathers vectors that came under load; `say` tells what is going on."""

    ideal: Ideal
    served: Served
    texts: list[str]
    sizes: Sizes
    say: Say
    kept: Kept = field(init=False)
    encoded: list[Tokens] = field(init=False)

    def __post_init__(self) -> None:
        self.kept = Kept(self.served.endpoint)
        self.encoded = self.ideal.encode(self.texts)
        self._batches = self.ideal.batches(self.encoded)
        self._parts = 1
        self._number = 0

    def warm(self) -> None:
        """Both see every text once; what the ideal's parts have to be is found."""
        self.send(self.texts, 64, 4)
        tokens = sum(map(len, self.encoded))
        self._parts = max(1, round(tokens / self.ideal.tokens_per_second(self._batches) / _IDEAL_SECONDS))

    def ideal_tokens_per_second(self) -> float:
        """Now, for about a second and a half."""
        self._number += 1
        return self.ideal.tokens_per_second(part(self._batches, self._parts, self._number))

    def send(
        self, texts: Sequence[str], per_request: int, connections: int, *, keep: bool = False, stages: bool = False
    ) -> Load:
        """A load on the server. keep: 1 % of its vectors are compared with those of the texts alone later."""
        places = sampled(len(texts)) if keep else []
        load = send_plan(Plan(self.endpoint, list(texts), per_request, connections, keep=places, stages=stages))
        if keep:
            self.kept.add(texts, load)
        return load

    @property
    def endpoint(self) -> Endpoint:
        return self.served.endpoint

    def tokens(self, count: int) -> int:
        """Of the first so many texts."""
        return sum(map(len, self.encoded[:count]))
