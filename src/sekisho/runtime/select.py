"""Which engine runs a model, in which number format, on how many threads: pure decisions, with their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sekisho.contract import Precision
from sekisho.errors import InternalError
from sekisho.runtime.machine import Machine
from sekisho.settings import EngineName

#: Up to here one run a core gives the most texts a second; beyond, a single text would wait for one slow core.
_MOST_LANES_OF_ONE_THREAD = 4
_THREADS_PER_LANE = 4


@dataclass(frozen=True)
class Choice:
    """lanes: batches run at once; threads: how many each of them uses."""

    engine: Literal["onnxruntime", "openvino"]
    precision: Literal["fp32", "bf16"]
    lanes: int
    threads: int
    reason: str


def choose(machine: Machine, engine: EngineName, precision: Precision, threads: int | None = None) -> Choice:
    """The best this CPU does at fp32's quality, within what was asked for.

    Measured (docs/performance.md): bfloat16 through OpenVINO is about twice as fast as any fp32 at a mean cosine above
    0.9999; at fp32 the two engines are level, and ONNX Runtime starts faster and is always there.

    Raises InternalError where an engine is asked for that is not installed.
    """
    if engine == "openvino" and machine.openvino is None:
        raise InternalError("SEKISHO_ENGINE is openvino, which is not installed: `pip install 'sekisho[openvino]'`")
    cores = threads or machine.cores
    lanes, each = plan_lanes(cores)
    bf16 = machine.openvino is not None and "BF16" in machine.formats
    if precision != "fp32" and engine != "onnxruntime" and bf16:
        return Choice(
            "openvino", "bf16", lanes, each, "the CPU computes in bfloat16: twice fp32's speed at its quality"
        )
    if engine == "openvino":
        return Choice("openvino", "fp32", lanes, each, _why_fp32(machine, engine, precision))
    return Choice("onnxruntime", "fp32", lanes, each, _why_fp32(machine, engine, precision))


def plan_lanes(cores: int) -> tuple[int, int]:
    """(batches at once, threads each) for a number of cores."""
    if cores <= _MOST_LANES_OF_ONE_THREAD:
        return cores, 1
    return max(1, cores // _THREADS_PER_LANE), _THREADS_PER_LANE


def _why_fp32(machine: Machine, engine: EngineName, precision: Precision) -> str:
    if precision == "fp32":
        return "models.yaml asks for fp32"
    if engine == "onnxruntime":
        return "SEKISHO_ENGINE asks for ONNX Runtime, which computes in fp32"
    if machine.openvino is None:
        return "OpenVINO is not installed (`pip install 'sekisho[openvino]'`); ONNX Runtime computes in fp32"
    return "the CPU has no bfloat16 arithmetic, and at fp32 the engines are level"
