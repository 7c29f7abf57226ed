"""Checkpoints as large as the real ones, of random weights: what converting, loading and the longest input take.

Each step runs in a process of its own, so that its peak of memory is its own: the largest resident set, the pages of
mapped weights included. Seconds of CPU are of all threads: beside them, seconds tell how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.full_size_models import MODELS, STATED, Sized, write_checkpoint
from sekisho.arrays import pad
from sekisho.contract import Contract, Tokens
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.runtime.model import Session

#: Engine and number format, as `sekisho doctor` would choose them with and without bfloat16 arithmetic.
_ENGINES: dict[str, tuple[str, Literal["fp32", "bf16"]]] = {
    "openvino-bf16": ("openvino", "bf16"),
    "openvino": ("openvino", "fp32"),
    "onnxruntime": ("onnxruntime", "fp32"),
}
_COLUMNS = (
    "model", "checkpoint", "convert s", "convert peak", "tokens", "engine", "load s", "run s", "of CPU", "run peak",
    "stated",
)  # fmt: skip


def _make(spec: Sized, folder: Path) -> dict[str, Any]:
    source = write_checkpoint(spec, folder / "source")
    return {"bytes": (source / "model.safetensors").stat().st_size}


def _convert(spec: Sized, folder: Path) -> dict[str, Any]:
    family = getattr(spec, "family", None)
    start = time.perf_counter()
    convert_directory(folder / "source", folder / "prepared", Choices(kind=spec.kind, family=family))
    return {"seconds": time.perf_counter() - start}


def _run(engine: str, folder: Path, length: int) -> dict[str, Any]:
    """Load, one input of two tokens, then one of `length` tokens."""
    directory = folder / "prepared"
    contract = Contract.read(directory)
    start = time.perf_counter()
    session = _session(engine, directory, contract)
    rng = np.random.Generator(np.random.PCG64(1))
    ids = rng.integers(4, contract.vocabulary, length).tolist()
    session.run(0, pad([Tokens(ids[:2])], contract.pad_id, contract.inputs))
    given = pad([Tokens(ids)], contract.pad_id, contract.inputs)
    loaded = time.perf_counter() - start
    start, before = time.perf_counter(), time.process_time()
    outputs = session.run(0, given)
    seconds, cpu = time.perf_counter() - start, time.process_time() - before
    if not all(np.isfinite(part).all() for part in outputs):
        raise AssertionError("the outputs are not finite")
    return {"load_seconds": loaded, "seconds": seconds, "cpu": cpu}


def _session(engine: str, directory: Path, contract: Contract) -> Session:
    """One lane of two threads."""
    name, precision = _ENGINES[engine]
    if name == "openvino":
        from sekisho.runtime.openvino import OpenVinoSession

        return OpenVinoSession(directory, contract.outputs, 1, 2, precision)
    from sekisho.runtime.onnx import OnnxRuntimeSession

    return OnnxRuntimeSession(directory, contract.outputs, 1, 2)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _in_child(*step: str, patience: float) -> Mapping[str, Any]:
    command = [sys.executable, "-m", "benchmarks.full_size", "--step", *step]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience)
    except subprocess.TimeoutExpired:
        return {"failed": f"more than {patience:,.0f} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1]}
    result: Mapping[str, Any] = json.loads(done.stdout)
    return result


def _step(step: list[str]) -> None:
    what, name, folder, *rest = step
    spec = next(spec for spec in MODELS if spec.name == name)
    if what == "make":
        result = _make(spec, Path(folder))
    elif what == "convert":
        result = _convert(spec, Path(folder))
    else:
        result = _run(what, Path(folder), int(rest[0]))
    print(json.dumps({**result, "peak": _peak()}))


def _gib(count: float) -> str:
    return f"{count / 2**30:.2f} GiB"


def _measure(spec: Sized, lengths: list[int], engines: list[str], patience: float) -> bool:
    """Print a row for each engine and length; whether all of it went well, within the stated memory."""
    with tempfile.TemporaryDirectory() as folder:
        made = _in_child("make", spec.name, folder, patience=patience)
        converted = _in_child("convert", spec.name, folder, patience=patience)
        if problem := made.get("failed") or converted.get("failed"):
            _row(spec.name, problem)
            return False
        first = [spec.name, _gib(made["bytes"]), f"{converted['seconds']:.1f}", _gib(converted["peak"])]
        good = True
        for engine in engines:
            stated = STATED[spec.name].get(engine)
            for length in dict.fromkeys(min(length, spec.limit) for length in lengths):
                result = _in_child(engine, spec.name, folder, str(length), patience=patience)
                _row(*first, f"{length:,}", engine, *_timed(result), f"{stated} GiB" if stated else "")
                good &= "failed" not in result and (stated is None or result["peak"] <= stated * 2**30)
    return good


def _timed(result: Mapping[str, Any]) -> list[str]:
    if "failed" in result:
        return ["", str(result["failed"]), "", ""]
    times = [f"{result[key]:.1f}" for key in ("load_seconds", "seconds", "cpu")]
    return [*times, _gib(result["peak"])]


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> int:
    """What scripts/full-size runs. 1 where a step failed or took more memory than is stated."""
    parser = argparse.ArgumentParser(prog="scripts/full-size", description=__doc__)
    parser.add_argument("models", nargs="*", help="names; all by default")
    parser.add_argument("--lengths", default="8192", help="tokens of the inputs, with commas between")
    parser.add_argument("--engines", default="openvino-bf16,onnxruntime", help=f"of {', '.join(_ENGINES)}")
    parser.add_argument("--patience", type=float, default=1200, help="seconds after which a step is given up")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        _step(given.step)
        return 0
    known = [spec.name for spec in MODELS]
    if unknown := sorted(set(given.models) - set(known)):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    if unknown := sorted(set(given.engines.split(",")) - set(_ENGINES)):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(_ENGINES)}")
    lengths = [int(length) for length in given.lengths.split(",")]
    _row(*_COLUMNS)
    _row(*("---" for _ in _COLUMNS))
    chosen = [spec for spec in MODELS if not given.models or spec.name in given.models]
    good = [_measure(spec, lengths, given.engines.split(","), given.patience) for spec in chosen]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
