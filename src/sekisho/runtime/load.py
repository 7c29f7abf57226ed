"""A prepared directory → a model in memory."""

from __future__ import annotations

from pathlib import Path

from sekisho.contract import Contract
from sekisho.errors import InternalError, OutOfMemory, SekishoError
from sekisho.runtime.device import CPU, no_room
from sekisho.runtime.model import LocalModel, Session
from sekisho.runtime.select import Choice
from sekisho.runtime.tokenizer import TextTokenizer

#: Where a provider that compiles a graph for its device keeps what came of it.
COMPILED = "compiled"


def load_model(directory: Path, contract: Contract, choice: Choice, memory: int | None = None) -> LocalModel:
    """memory: most bytes of a device that its models share for what they compute.

    Raises OutOfMemory, InternalError, ConversionFailed (another model's tokenizer, or one that needs an extra)."""
    tokenizer = TextTokenizer(directory, contract)
    return LocalModel(contract, tokenizer, _opened(directory, contract, choice, memory))


def load_again(model: LocalModel, directory: Path, choice: Choice) -> LocalModel:
    """The same model under another choice, beside the first, whose tokenizer it shares. Raises as `load_model`."""
    return model.beside(_opened(directory, model.contract, choice, None))


def _opened(directory: Path, contract: Contract, choice: Choice, memory: int | None) -> Session:
    try:
        return _session(directory, contract, choice, memory)
    except SekishoError:
        raise
    except MemoryError:
        raise OutOfMemory("This machine has no memory for the model: unload another, or choose a smaller one") from None
    except Exception as error:  # the engines' own errors share no other base
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).replace(str(directory), "…")
        if no_room(str(error)):
            raise OutOfMemory(
                f"{choice.device} has no memory for the model: unload another, or choose a smaller one"
            ) from error
        raise InternalError(f"{choice.engine} cannot load the prepared graph: {reason}") from error


def _session(directory: Path, contract: Contract, choice: Choice, memory: int | None) -> Session:
    if choice.device != CPU:
        from sekisho.runtime.onnx_device import OnnxDeviceSession

        return OnnxDeviceSession(
            directory,
            contract,
            choice.device,
            choice.lanes,
            half=choice.precision == "fp16",
            memory=memory,
            compiled=_compiled(directory) if choice.device.compiles else None,
        )
    outputs = contract.outputs
    ours = contract.numbers == "int8" and contract.graph is None  # what convert/int8.py makes
    if choice.engine == "openvino":
        from sekisho.runtime.openvino import OpenVinoSession  # an extra

        return OpenVinoSession(directory, outputs, choice.lanes, choice.threads, choice.floats, round_tokens=ours)
    from sekisho.runtime.onnx import OnnxRuntimeSession

    return OnnxRuntimeSession(
        directory,
        outputs,
        choice.lanes,
        choice.threads,
        unpack=ours and choice.precision != "int8",
        bf16=choice.precision == "bf16",
    )


def _compiled(directory: Path) -> Path | None:
    """Inside the version, so that it goes with it; None where it cannot be written, and is made each time."""
    place = directory / COMPILED
    try:
        place.mkdir(exist_ok=True)
    except OSError:
        return None
    return place
