"""The bars that need no server of an embedding model beside its ideal: int8 (P6) and reranking (P7)."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import quality, rerank
from sekisho.bench.bars import row
from sekisho.bench.figures import Row
from sekisho.bench.mix import texts
from sekisho.contract import Passage
from sekisho.convert.gate_texts import passages

_DOCUMENTS = 100
_INT8 = "int8, ours"
#: What int8 has to keep, against fp32.
_LEAST = {"cosine_mean": 0.998, "cosine_min": 0.99, "overlap": 0.97, "alone": 0.999}
_NAMED = {
    "cosine_mean": "mean cosine to fp32",
    "cosine_min": "lowest cosine to fp32",
    "overlap": "ten nearest that stay",
    "alone": "lowest cosine of a text among others to itself alone",
}


def int8_rows(rounds: int, count: int, say: Callable[[str], None]) -> list[Row]:
    """P6: ours in turns with ONNX Runtime's fp32, one lane of one thread; quality on the gate's texts."""
    say("int8: preparing")
    with tempfile.TemporaryDirectory() as folder:
        made = quality.variants(Path(folder))
        try:
            return _int8_rows(made, rounds, count, say)
        finally:
            for variant in made:
                variant.model.close()


def _int8_rows(made: list[quality.Variant], rounds: int, count: int, say: Callable[[str], None]) -> list[Row]:
    reference, int8 = made[0], next((variant for variant in made if variant.name.startswith(_INT8)), None)
    if int8 is None:
        return []
    tokens = reference.model.encode([Passage(text) for text in texts(count)], "end")
    quality.race(reference, int8, tokens)  # warms both
    int8.by_clock.clear()
    for number in range(rounds):
        say(f"int8 beside fp32: round {number + 1} of {rounds}")
        quality.race(reference, int8, tokens)
    asked = passages("embedding")
    say("int8: quality")
    found = quality.measure(int8.model, asked, quality.rows(reference.model, asked))
    kept = [
        Row("P6", f"int8: {_NAMED[name]}", (getattr(found, name),), limit=least, at_least=True)
        for name, least in _LEAST.items()
    ]
    return [row("P6", int8.by_clock, note=int8.name), *kept]


def rerank_rows(rounds: int, say: Callable[[str], None]) -> list[Row]:
    """P7. The CrossEncoder answers in ten seconds, so rounds are few."""
    say(f"reranking beside the CrossEncoder, {rounds} rounds")
    found = rerank.measure(rounds, _DOCUMENTS, "auto")["rounds"]
    ours = statistics.median(each["pairs/s, Sekisho over HTTP"] for each in found)
    apart = max(each["largest difference of a score"] for each in found)
    return [row("P7", [each["ratio"] for each in found], note=f"ours {ours:.0f} pairs/s; scores apart by {apart:.1g}")]
