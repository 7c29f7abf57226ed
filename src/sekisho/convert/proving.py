"""A float graph → its int8 or fp16, measured beside it, and refused where it is too far."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE, Contract, Passage, Quality, Rows
from sekisho.convert.gate import HALF, judge, lone, refuse, short_of
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
    quantise(directory, run, lambda done, size: tell("quantise", done, size))
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


def make_half(
    directory: Path, name: str, run: Run, *, asked: bool, force: bool = False, progress: Progress | None = None
) -> Quality | None:
    """Make the graph of `directory` fp16 and say so in its contract, with the figures.

    Where nobody asked for fp16 and it misses its bar, or its family is known to leave fp16's range, the float graph
    stays and its contract says why; None then.

    asked: whether models.yaml asks for fp16. force: take it below the bar too.

    Raises ConversionFailed with the figures where fp16 was asked for and they miss the bar.
    """
    from sekisho.convert.half import halve, unfit  # needs an extra

    contract, tell = Contract.read(directory), progress or (lambda _step, _done, _size: None)
    reason = None if asked else unfit(contract.family)
    if reason is not None:
        replace(contract, origins=contract.origins | {"half": reason}).write(directory)
        return None
    texts = passages(contract.kind)
    tell("check", 0, 3)
    reference = run(directory, contract, texts, False, False)
    with _beside(directory) as made:
        halve(directory, made, lambda done, size: tell("halve", done, size))
        half = replace(contract, numbers="half")
        tell("check", 1, 3)
        rows = run(made, half, texts, True, False)
        tell("check", 2, 3)
        quality = judge(contract.kind, reference, rows, run(made, half, texts[lone(contract.kind)], True, True))
        tell("check", 3, 3)
        missed = short_of(quality, HALF)
        if missed is not None and asked and not force:
            refuse(name, missed, "fp16")
        if missed is not None and not asked:
            replace(contract, origins=contract.origins | {"half": f"fp16 is too far off: {missed}"}).write(directory)
            return None
        for file in (WEIGHTS_FILE, GRAPH_FILE):
            os.replace(made / file, directory / file)
    quality = replace(quality, forced=missed is not None)
    origins = contract.origins | {"numbers": "models.yaml" if asked else "the device"}
    replace(half, quality=quality, origins=origins).write(directory)
    return quality


@contextmanager
def _beside(directory: Path) -> Iterator[Path]:
    """A directory in which another graph is tried, with all of the model but its graph; gone at the end."""
    made = directory / ".half"
    made.mkdir()
    try:
        for path in directory.iterdir():
            if path.is_file() and path.name not in {GRAPH_FILE, WEIGHTS_FILE}:
                (made / path.name).symlink_to(path.resolve())
        yield made
    finally:
        shutil.rmtree(made)
