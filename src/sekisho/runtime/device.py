"""Where a graph runs: the CPU, or a card through one of ONNX Runtime's execution providers. Values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["cpu", "cuda", "migraphx", "coreml"]

#: Execution providers by ONNX Runtime's names.
PROVIDERS: Final[Mapping[Kind, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
#: ONNX Runtime's own ROCm provider ended with 1.22; AMD's cards are reached through MIGraphX since.
_KINDS: Final[Mapping[str, Kind]] = {kind: kind for kind in PROVIDERS} | {"rocm": "migraphx"}


@dataclass(frozen=True)
class Device:
    """index: which card of several, as the driver counts those that this process may see."""

    kind: Kind
    index: int = 0

    @property
    def provider(self) -> str:
        return PROVIDERS[self.kind]

    @property
    def memory(self) -> str:
        """What ONNX Runtime calls the memory that inputs are bound to; "cpu" where the provider copies by itself."""
        return "cuda" if self.kind == "cuda" else "cpu"

    @property
    def compiles(self) -> bool:
        """Whether the provider compiles a graph, for minutes perhaps, and can keep what came of it."""
        return self.kind in {"migraphx", "coreml"}

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.index else self.kind


CPU: Final = Device("cpu")


def device_named(text: str) -> Device | None:
    """`cuda:1` and its kin, as `SEKISHO_DEVICE` has them; None for `auto`. The setting has checked the form."""
    if text == "auto":
        return None
    name, _, index = text.partition(":")
    return Device(_KINDS[name], int(index or 0))


#: How an accelerator's libraries say that its memory is full: ONNX Runtime's arena, CUDA, HIP.
_NO_ROOM = ("Failed to allocate memory", "CUDA failure 2:", "CUDA_ERROR_OUT_OF_MEMORY", "out of memory")


def no_room(message: str) -> bool:
    """Whether an error of ONNX Runtime's means that the device's memory is full."""
    return any(sign in message for sign in _NO_ROOM)
