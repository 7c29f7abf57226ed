"""What the NVIDIA driver says of its cards, asked without any CUDA library but the driver's own.

https://docs.nvidia.com/cuda/cuda-driver-api : every call gives 0 for success. The driver hides what
`CUDA_VISIBLE_DEVICES` hides and counts the rest from 0, as ONNX Runtime's `device_id` does.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass

_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_NAME_BYTES = 256


@dataclass(frozen=True)
class Card:
    """capability: NVIDIA's compute capability; memory: bytes."""

    name: str
    capability: tuple[int, int]
    memory: int


@dataclass(frozen=True)
class Driver:
    """cards: in the order of `device_id`; problem: why there are none."""

    cards: tuple[Card, ...] = ()
    problem: str | None = None


def ask_driver(visible: str | None, load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> Driver:
    """The cards that this process may use. visible: `CUDA_VISIBLE_DEVICES`, None where it is not set."""
    if visible is not None and visible.strip() in {"", "-1"}:
        return Driver(problem=f"CUDA_VISIBLE_DEVICES is {visible.strip()!r}, which hides every card: unset it")
    try:
        library = load(_LIBRARY)
    except OSError:
        return Driver(problem=f"there is no NVIDIA driver ({_LIBRARY}); a container needs `--gpus all`")
    count = ctypes.c_int()
    code = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count))
    if code == _NO_DEVICE or (not code and not count.value):
        hint = f"CUDA_VISIBLE_DEVICES is {visible!r}" if visible else "a container needs `--gpus all`"
        return Driver(problem=f"the NVIDIA driver shows this process no card ({hint})")
    if code:
        return Driver(problem=f"the NVIDIA driver does not start (CUDA error {code}): see `nvidia-smi`")
    return Driver(tuple(_card(library, index) for index in range(count.value)))


def _card(library: ctypes.CDLL, index: int) -> Card:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, _NAME_BYTES, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        number = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
        numbers.append(number.value)
    return Card(name.value.decode(errors="replace"), (numbers[0], numbers[1]), memory.value)
