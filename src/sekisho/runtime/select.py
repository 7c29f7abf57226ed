"""Which engine runs a model, in which number format, on how many threads: pure decisions, with their reasons."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sekisho.contract import Contract, Precision
from sekisho.errors import InternalError
from sekisho.runtime.device import CPU, Device
from sekisho.runtime.machine import Machine, has_vnni
from sekisho.runtime.placing import ON_CPU, Placement
from sekisho.settings import EngineName

#: Up to here one run a core gives the most texts a second; beyond, a single text would wait for one slow core.
_MOST_LANES_OF_ONE_THREAD = 4
_THREADS_PER_LANE = 4
#: Batches that a card has at once: one runs, one is prepared.
DEVICE_LANES = 2
#: Padded tokens in a batch. A card is busy only with many at once: text-embeddings-inference's default for CUDA.
_DEVICE_BATCH_TOKENS = 16_384
_CPU_BATCH_TOKENS = 1024

Floats = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Choice:
    """lanes: batches run at once; threads: how many each of them uses.

    rest: what an int8 graph computes in where it is not int8.
    """

    engine: Literal["onnxruntime", "openvino"]
    precision: Literal["fp32", "bf16", "fp16", "int8"]
    lanes: int
    threads: int
    reason: str
    rest: Floats = "fp32"
    device: Device = CPU

    @property
    def floats(self) -> Floats:
        """The format of whatever is not int8."""
        return self.rest if self.precision == "int8" else self.precision


def choose(
    machine: Machine,
    engine: EngineName,
    precision: Precision,
    threads: int | None = None,
    contract: Contract | None = None,
    placement: Placement = ON_CPU,
) -> Choice:
    """The best this machine does at fp32's quality, within what was asked for.

    Measured (docs/performance.md): bfloat16 through OpenVINO is about twice as fast as any fp32 at a mean cosine above
    0.9999; at fp32 the two engines are level, and ONNX Runtime starts faster and is always there.

    contract: of the prepared model; None: it is not prepared yet, and taken for one that is made from its weights.
    placement: the device, which goes before the CPU for every graph it can run.

    Raises InternalError where an engine is asked for that is not installed.
    """
    if engine == "openvino" and machine.openvino is None:
        raise InternalError("SEKISHO_ENGINE is openvino, which is not installed: `pip install 'sekisho[openvino]'`")
    if placement.device != CPU:
        if contract is None or not only_on_cpu(contract):
            return _on_device(placement, precision, contract)
        choice = choose(machine, engine, precision, threads, contract)
        return replace(choice, reason=f"{placement.device} has no kernels for it; {choice.reason}")
    cores = threads or machine.cores
    lanes, each = plan_lanes(cores)
    if contract is not None and contract.numbers == "half":
        return Choice("onnxruntime", "fp16", lanes, each, "it was prepared in fp16, for a card")
    if contract is not None and contract.engine is not None:
        numbers: Literal["fp32", "int8"] = "int8" if "int8" in contract.numbers else "fp32"
        return Choice(contract.engine, numbers, lanes, each, _why_only(contract))
    if contract is not None and contract.graph is not None and contract.numbers == "int8":
        floats = _floats(machine, engine, "auto" if precision == "int8" else precision, lanes, each)
        reason = f"{contract.graph} is int8; elsewhere: {floats.reason}"
        return replace(floats, precision="int8", rest=floats.floats, reason=reason)
    if _is_int8(precision, contract):
        if engine != "onnxruntime" and machine.openvino is not None:
            rest: Floats = "bf16" if "BF16" in machine.formats else "fp32"
            return Choice("openvino", "int8", lanes, each, _why_int8(machine, rest), rest)
        numbers = "int8" if has_vnni(machine) else "fp32"
        return Choice("onnxruntime", numbers, lanes, each, _why_unpacked(machine))
    return _floats(machine, engine, precision, lanes, each)


def only_on_cpu(contract: Contract) -> bool:
    """Whether a graph's operators have no kernels but the CPU's: ready-made int8, whose products are whole numbers."""
    return contract.graph is not None and "int8" in contract.numbers


def halves(precision: Precision, placement: Placement) -> bool:
    """Whether a model is prepared in fp16 for this device.

    What is asked for as bf16 stays fp32: ONNX Runtime's CUDA kernels are not complete for it, and TensorFloat-32, in
    which a card of that age multiplies fp32, has bf16's range and three bits more.
    """
    return placement.halves and precision in {"auto", "fp16"}


def _on_device(placement: Placement, precision: Precision, contract: Contract | None) -> Choice:
    """One batch runs while the next is prepared: two lanes, as a card runs one kernel after the other anyway."""
    made = contract.numbers == "half" if contract is not None else halves(precision, placement)
    # Two providers turn a graph's numbers into fp16 themselves.
    half = made or (placement.device.compiles and precision == "fp16")
    reason = f"{placement.reason}; {_why_on_device(placement, precision, contract, half=half)}"
    return Choice("onnxruntime", "fp16" if half else "fp32", DEVICE_LANES, 1, reason, device=placement.device)


def _why_on_device(placement: Placement, precision: Precision, contract: Contract | None, *, half: bool) -> str:
    if half:
        return "fp16 products, twice fp32's speed or more; norms and sums in fp32"
    if contract is not None and "half" in contract.origins:
        return f"fp32: {contract.origins['half']}"
    if precision == "int8":
        return "int8 runs on OpenVINO; here its rounded weights are computed with in fp32"
    if precision in {"fp32", "bf16"}:
        return f"fp32, as models.yaml asks for {precision}"
    if contract is not None and contract.graph is not None:
        return f"fp32, as {contract.graph} is"
    return "fp32, in which the device is at its best"


def _floats(machine: Machine, engine: EngineName, precision: Precision, lanes: int, each: int) -> Choice:
    if precision == "fp16" and engine != "onnxruntime" and machine.openvino is not None and "FP16" in machine.formats:
        return Choice("openvino", "fp16", lanes, each, "models.yaml asks for fp16, in which the CPU computes")
    bf16 = machine.openvino is not None and "BF16" in machine.formats
    if precision != "fp32" and engine != "onnxruntime" and bf16:
        return Choice(
            "openvino", "bf16", lanes, each, "the CPU computes in bfloat16: twice fp32's speed at its quality"
        )
    if precision in {"auto", "bf16"} and engine != "openvino" and _multiplies_bf16_on_arm(machine):
        return Choice(
            "onnxruntime", "bf16", lanes, each, "the CPU multiplies bfloat16 (ARM), and ONNX Runtime's fp32 uses it"
        )
    if engine == "openvino":
        return Choice("openvino", "fp32", lanes, each, _why_fp32(machine, engine, precision))
    return Choice("onnxruntime", "fp32", lanes, each, _why_fp32(machine, engine, precision))


def batch_tokens(asked: int | None, device: Device) -> int:
    """Padded tokens run at once: what was asked for, or what suits the device. CoreML leaves much to the CPU."""
    return asked or (_DEVICE_BATCH_TOKENS if device.kind in {"cuda", "migraphx"} else _CPU_BATCH_TOKENS)


def plan_lanes(cores: int) -> tuple[int, int]:
    """(batches at once, threads each) for a number of cores."""
    if cores <= _MOST_LANES_OF_ONE_THREAD:
        return cores, 1
    return max(1, cores // _THREADS_PER_LANE), _THREADS_PER_LANE


def _multiplies_bf16_on_arm(machine: Machine) -> bool:
    """Graviton3 and later, Grace, Ampere One: `BFMMLA`, as Linux tells it.

    ONNX Runtime rounds both sides of a product to bfloat16 and adds in fp32: 1.2 to 1.8 times its fp32 on Graviton3, as
    its author measured (https://github.com/microsoft/onnxruntime/pull/17031). On macOS it does so only since
    https://github.com/microsoft/onnxruntime/pull/32152, and no flag is read there.
    """
    return machine.architecture == "aarch64" and "bf16" in machine.flags


def _is_int8(precision: Precision, contract: Contract | None) -> bool:
    """Whether the graph is int8 of our own making, or would be."""
    return precision == "int8" if contract is None else contract.numbers == "int8"


def _why_int8(machine: Machine, rest: Floats) -> str:
    if has_vnni(machine):
        return f"int8 products, their scales calibrated or found for each token by itself; {rest} elsewhere"
    return "int8 weights, computed in float: the CPU has no int8 products (VNNI)"


def _why_unpacked(machine: Machine) -> str:
    why = "OpenVINO is not installed" if machine.openvino is None else "SEKISHO_ENGINE asks for ONNX Runtime"
    if has_vnni(machine):
        return f"{why}, on which all of int8 runs: its calibrated products are int8, the others in fp32"
    return f"{why}, on which int8 runs: its rounded weights are computed with in fp32"


def _why_only(contract: Contract) -> str:
    if contract.numbers == "dynamic_int8":
        return f"{contract.graph} finds its int8 scales in each batch: it was made for ONNX Runtime"
    return f"{contract.graph} has operators that only ONNX Runtime knows"


def _why_fp32(machine: Machine, engine: EngineName, precision: Precision) -> str:
    if precision == "fp32":
        return "models.yaml asks for fp32"
    if engine == "onnxruntime":
        return "SEKISHO_ENGINE asks for ONNX Runtime, which computes in fp32"
    if machine.openvino is None:
        return "OpenVINO is not installed (`pip install 'sekisho[openvino]'`); ONNX Runtime computes in fp32"
    return "the CPU has no bfloat16 arithmetic, and at fp32 the engines are level"
