"""A float graph → its int8, measured beside it, and refused where it is too far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sekisho.contract import Contract, Passage, Quality, Rows
from sekisho.convert.gate import judge, lone, refuse, short_of
from sekisho.convert.gate_texts import passages

#: Runs the graph of a directory on passages: float32 [passages, width]. In fp32, or as it will be served; each passage
#: by itself, or in batches. Handed in, since the runtime lies above. Raises ConversionFailed where int8 cannot run.
Run = Callable[[Path, Contract, Sequence[Passage], bool, bool], Rows]

#: Told the step (`check`, `quantise`), and how much of how much is done of it.
Progress = Callable[[str, int, int], None]


def make_int8(
    directory: Path, name: str, run: Run, *, origin: str, force: bool = False, progress: Progress | None = None
) -> Quality:
    """Make the graph of `directory` int8 and say so in its contract, with the figures.

    name: the model's, for the refusal. origin: who asked for int8. force: take it below the gate too.

    Raises ConversionFailed with the figures where they miss the gate, or where int8 cannot run here.
    """
    from sekisho.convert.int8 import quantise  # needs an extra

    contract, tell = Contract.read(directory), progress or (lambda _step, _done, _size: None)
    texts = passages(contract.kind)
    tell("check", 0, 3)
    reference = run(directory, contract, texts, False, False)
    quantise(directory, lambda done, size: tell("quantise", done, size))
    contract = replace(contract, numbers="int8", origins=contract.origins | {"numbers": origin})
    tell("check", 1, 3)
    rows = run(directory, contract, texts, True, False)
    tell("check", 2, 3)
    quality = judge(contract.kind, reference, rows, run(directory, contract, texts[lone(contract.kind)], True, True))
    tell("check", 3, 3)
    missed = short_of(quality)
    if missed is not None and not force:
        refuse(name, missed)
    quality = replace(quality, forced=missed is not None)
    replace(contract, quality=quality).write(directory)
    return quality
