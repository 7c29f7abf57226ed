"""What there is beside the CPU: which ONNX Runtime is installed, which of its providers load, which cards answer.

Cheap where there is nothing: without a provider's library beside ONNX Runtime no engine is imported and no driver is
asked. Nothing is believed for being listed: `get_available_providers` names what was compiled in, and a session whose
provider cannot be loaded runs on the CPU with a line on stderr (seen with onnxruntime-gpu 1.31.1). So the library is
loaded here first, where the system says what it lacks.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import io
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from sekisho.runtime.device import PROVIDERS, Kind
from sekisho.runtime.nvidia import Card, Driver, ask_driver
from sekisho.settings import visible_cards

#: Distributions that own the folder `onnxruntime`: each overwrites what another has put there.
_OWNERS = re.compile(r"onnxruntime(-(gpu|migraphx|rocm|directml|openvino|qnn|training|silicon))?$")
_SUFFIX = {"win32": ("", ".dll"), "darwin": ("lib", ".dylib")}.get(sys.platform, ("lib", ".so"))
_MISSING = re.compile(r"(\S+\.so[.\d]*|\S+\.dll)\b.*(?:cannot open shared object|not found)", re.IGNORECASE)
#: Signs of NVIDIA's driver: on Linux, under WSL, on Windows.
_DRIVERS = ("/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1", r"C:\Windows\System32\nvcuda.dll")
#: What loading a provider's library says where all its own libraries were found: those names ONNX Runtime brings.
_NEEDS_THE_REST = "undefined symbol"


@dataclass(frozen=True)
class Accelerators:
    """distributions: of ONNX Runtime, sorted; providers: those that are there and load.

    unloadable: of those that are there and do not load, why. driver: NVIDIA's, where the CUDA provider loads.
    nvidia: whether the system has an NVIDIA driver, whatever is installed.
    """

    distributions: tuple[str, ...] = ("onnxruntime",)
    providers: frozenset[Kind] = frozenset()
    unloadable: Mapping[Kind, str] = field(default_factory=dict)
    driver: Driver = field(default_factory=Driver)
    nvidia: bool = False

    @property
    def cards(self) -> tuple[Card, ...]:
        return self.driver.cards

    @property
    def both_installed(self) -> bool:
        return len(self.distributions) > 1


@cache
def find_accelerators() -> Accelerators:
    """Looked for once a process."""
    spec = importlib.util.find_spec("onnxruntime")
    folder = Path(spec.origin).parent / "capi" if spec is not None and spec.origin else Path()
    found = _libraries(folder)
    providers = _compiled_in() if found or sys.platform == "darwin" else frozenset()
    unloadable = {
        kind: why
        for kind, library in found.items()
        if kind in providers and (why := _why_not_loaded(library, preload=kind == "cuda")) is not None
    }
    usable = providers - unloadable.keys()
    return Accelerators(
        distributions=owners(),
        providers=frozenset(usable),
        unloadable=unloadable,
        driver=ask_driver(visible_cards()) if "cuda" in usable else Driver(),
        nvidia=any(Path(path).exists() for path in _DRIVERS),
    )


def owners(names: Collection[str] | None = None) -> tuple[str, ...]:
    """Of the installed distributions those that bring ONNX Runtime."""
    installed = [each.name for each in distributions()] if names is None else names
    plain = {re.sub(r"[-_.]+", "-", name).lower() for name in installed if name}
    return tuple(sorted(name for name in plain if _OWNERS.match(name)))


def _libraries(folder: Path) -> dict[Kind, Path]:
    """The providers that are a library of their own. CoreML is part of ONNX Runtime on macOS."""
    prefix, suffix = _SUFFIX
    paths = {kind: folder / f"{prefix}onnxruntime_providers_{kind}{suffix}" for kind in PROVIDERS}
    return {kind: path for kind, path in paths.items() if path.exists()}


def _compiled_in() -> frozenset[Kind]:
    import onnxruntime

    listed = set(onnxruntime.get_available_providers())
    return frozenset(kind for kind, provider in PROVIDERS.items() if kind != "cpu" and provider in listed)


def _why_not_loaded(library: Path, *, preload: bool) -> str | None:
    """What the system says when the library of a provider is loaded; None where nothing is missing."""
    if preload:
        preload_cuda()
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return missing_library(str(error))
    return None


def missing_library(message: str) -> str | None:
    """An error of the system's loader in our words; None where only ONNX Runtime itself was still missing."""
    if _NEEDS_THE_REST in message:
        return None
    named = _MISSING.search(message)
    return f"{Path(named[1]).name} is missing" if named else message.rsplit("/", 1)[-1]


@cache
def preload_cuda() -> None:
    """CUDA and cuDNN from NVIDIA's own Python distributions, where those are installed.

    ONNX Runtime looks for them in the system's folders alone unless it is told to (`onnxruntime.preload_dlls`, 1.21).
    What it prints of what it did not find, `missing_library` says better.
    """
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            onnxruntime.preload_dlls(directory="")
