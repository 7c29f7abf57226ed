"""What serving adds to a single text: to its time (P5) and to the CPU it takes (P9)."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from sekisho.bench.bars import row
from sekisho.bench.counted import Counted
from sekisho.bench.figures import Row
from sekisho.bench.mix import Lengths, texts
from sekisho.bench.stand import Stand
from sekisho.contract import Tokens

#: Texts after which server and ideal take turns.
_TURN = 32
#: The same where one client's CPU is compared, which the system tells in hundredths of a second. Many clients have one
#: turn: at its beginning and end batches are not what they are between.
_CPU_TURN = 128
_SHORT = Lengths(median=10, sigma=0.25)
_SHORT_SEED = 9
MANY = 64


@dataclass(frozen=True)
class Alone:
    """Median milliseconds of a text: of one client's requests, and of tokenising and running it in process."""

    served: float
    in_process: float


def alone(stand: Stand) -> list[Alone]:
    """One client, in turns with the ideal over the same texts. Raises LoadFailed."""
    stand.say("one client beside tokenising and running in process")
    return [_turns(stand) for _ in range(stand.sizes.rounds)]


def _turns(stand: Stand) -> Alone:
    served: list[float] = []
    in_process: list[float] = []
    for at in range(0, stand.sizes.alone, _TURN):
        turn = stand.texts[at : at + _TURN]
        served += stand.send(turn, 1, 1).latencies
        in_process += stand.ideal.alone(turn)
    return Alone(statistics.median(served), statistics.median(in_process))


@dataclass(frozen=True)
class Spent:
    """Milliseconds of CPU a single text: of the server, of tokenising it, and of running it."""

    served: float
    tokenising: float
    running: float

    @property
    def beside(self) -> float:
        return self.served - self.tokenising - self.running


def spent(stand: Stand, clients: int) -> list[Spent]:
    """Short texts of one length, so that nothing is padded and only the number of rows in a batch is the server's.

    The server's CPU while it answers them, in turns with what tokenising them one by one and running them in batches of
    as many rows as the server's costs this process. As under the server, no more lanes are busy than there are clients,
    and where there is one, a text is tokenised and run before the next: a lane alone took up to 40 % more CPU a text
    than two at once, and a tokenizer that has just read other texts a fifth of what it takes after the model has run.
    Either would be put down to HTTP. Raises LoadFailed.
    """
    stand.say(f"CPU of a single text, {clients} clients")
    short = _short(stand)
    return [_spent(stand, short, clients) for _ in range(stand.sizes.rounds)]


def _short(stand: Stand) -> list[str]:
    """Texts of the most common length."""
    made = texts(8 * stand.sizes.short, _SHORT_SEED, _SHORT)
    lengths = [len(tokens) for tokens in stand.ideal.encode(made)]
    (most, _), *_ = Counter(lengths).most_common(1)
    return [text for text, length in zip(made, lengths, strict=True) if length == most][: stand.sizes.short]


def _spent(stand: Stand, short: list[str], clients: int) -> Spent:
    size = _CPU_TURN if clients == 1 else len(short)
    turns = [short[at : at + size] for at in range(0, len(short), size)]
    parts = [_turn_spent(stand, turn, clients) for turn in turns]
    each = 1000 / len(short)
    served, tokenising, running = (sum(column) * each for column in zip(*parts, strict=True))
    return Spent(served, tokenising, running)


def _turn_spent(stand: Stand, turn: list[str], clients: int) -> tuple[float, float, float]:
    """Seconds: of the server, of tokenising, of running."""
    counted, before = Counted(stand.served), stand.served.cpu_seconds
    stand.send(turn, 1, clients)
    served = stand.served.cpu_seconds - before
    if clients == 1:
        return served, *_one_by_one(stand, turn)
    batches = counted.batches()
    began = time.process_time()
    encoded = [stand.ideal.encode([text])[0] for text in turn]
    tokenised = time.process_time()
    stand.ideal.run(batches_like(encoded, batches))
    return served, tokenised - began, time.process_time() - tokenised


def _one_by_one(stand: Stand, turn: list[str]) -> tuple[float, float]:
    tokenising = running = 0.0
    for text in turn:
        began = time.process_time()
        encoded = stand.ideal.encode([text])
        tokenised = time.process_time()
        stand.ideal.run_one(encoded)
        running += time.process_time() - tokenised
        tokenising += tokenised - began
    return tokenising, running


def batches_like(encoded: list[Tokens], counted: Sequence[tuple[float, float]]) -> list[list[Tokens]]:
    """Batches of as many rows as the server's were, not sorted by it: a shape unlike the last one costs more.

    counted: upper bounds and how many lie between each and the one before; as far up as makes all texts.
    """
    bounds = [0.0, *(min(bound, len(encoded)) for bound, _ in counted)]
    ranges = [(low, high, count) for (low, high), (_, count) in zip(pairwise(bounds), counted, strict=True) if count]
    least = sum((low + 1) * count for low, _, count in ranges)
    room = sum((high - low - 1) * count for low, high, count in ranges)
    share = min(1.0, max(0.0, (len(encoded) - least) / room)) if room > 0 else 0.0
    rows = [low + 1 + share * (high - low - 1) for low, high, count in ranges for _ in range(round(count))]
    random.Random(_SHORT_SEED).shuffle(rows)  # noqa: S311 - the same each time
    scale = len(encoded) / sum(rows)  # texts that were run twice, or in the batches of another load
    ends = [round(scale * end) for end in accumulate(rows, initial=0.0)]
    return [encoded[begin:end] for begin, end in pairwise(ends) if end > begin]


def time_rows(times: list[Alone]) -> list[Row]:
    """P5, and what it is the difference of."""
    return [
        row("P5", [each.served - each.in_process for each in times]),
        Row("", "one client, p50", tuple(each.served for each in times), "ms"),
        Row("", "tokenising and running one text in process, p50", tuple(each.in_process for each in times), "ms"),
    ]


def cpu_rows(many: list[Spent], one: list[Spent]) -> list[Row]:
    """P9."""
    return [
        row("P9", [each.beside for each in many], f", {MANY} clients"),
        row("P9", [each.beside for each in one], ", one client"),
        Row("", f"server CPU a short text in all, {MANY} clients", tuple(each.served for each in many), "ms"),
    ]
