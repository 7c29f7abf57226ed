"""A prepared directory → a model in memory."""

from __future__ import annotations

from pathlib import Path

from sekisho.contract import Contract
from sekisho.errors import InternalError, OutOfMemory
from sekisho.runtime.model import LocalModel, Session
from sekisho.runtime.select import Choice
from sekisho.runtime.tokenizer import TextTokenizer


def load_model(directory: Path, contract: Contract, choice: Choice) -> LocalModel:
    """Raises OutOfMemory, InternalError, ConversionFailed (another model's tokenizer, or one that needs an extra)."""
    tokenizer = TextTokenizer(directory, contract)
    try:
        session = _session(directory, contract, choice)
    except MemoryError:
        raise OutOfMemory("This machine has no memory for the model: unload another, or choose a smaller one") from None
    except Exception as error:  # the engines' own errors share no other base
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).replace(str(directory), "…")
        raise InternalError(f"{choice.engine} cannot load the prepared graph: {reason}") from error
    return LocalModel(contract, tokenizer, session)


def _session(directory: Path, contract: Contract, choice: Choice) -> Session:
    outputs = contract.outputs
    weights_alone = contract.numbers == "int8" and contract.graph is None  # what convert/int8.py makes
    if choice.engine == "openvino":
        from sekisho.runtime.openvino import OpenVinoSession  # an extra

        return OpenVinoSession(
            directory, outputs, choice.lanes, choice.threads, choice.floats, round_tokens=weights_alone
        )
    from sekisho.runtime.onnx import OnnxRuntimeSession

    return OnnxRuntimeSession(directory, outputs, choice.lanes, choice.threads, unpack=weights_alone)
