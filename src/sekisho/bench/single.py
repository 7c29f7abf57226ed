"""What serving adds to a single text: to its time (P5) and to the CPU it takes (P9)."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

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
    as many rows costs this process. As under the server, no more lanes are busy than there are clients, and where there
    is one, a text is tokenised and run before the next: a lane alone took 5 to 40 % more CPU a text than two at once,
    and a tokenizer that has just read other texts a fifth of what it takes after the model has run. Either would be
    put down to HTTP. Raises LoadFailed.
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
    rows = len(turn) / counted.batches()
    began = time.process_time()
    encoded = [stand.ideal.encode([text])[0] for text in turn]
    tokenised = time.process_time()
    stand.ideal.run(batches_of_rows(encoded, rows))
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


def batches_of_rows(encoded: list[Tokens], rows: float) -> list[list[Tokens]]:
    """Batches of so many rows in the mean: as whole numbers, the one below and the one above."""
    count = max(1, round(len(encoded) / rows))
    ends = [round(number * len(encoded) / count) for number in range(count + 1)]
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
