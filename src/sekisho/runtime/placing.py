"""On which device models run: a pure decision, with its reasons and with what was passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sekisho.errors import InternalError
from sekisho.runtime.accelerators import Accelerators
from sekisho.runtime.device import CPU, Device, Kind
from sekisho.runtime.nvidia import Card

#: By the kind of device, the distribution of ONNX Runtime that has its provider.
_BUILDS: Final[Mapping[Kind, str]] = {"cuda": "onnxruntime-gpu", "migraphx": "onnxruntime-migraphx"}
#: What to do where a provider is there and its own libraries are not.
_REMEDIES: Final[Mapping[Kind, str]] = {
    "cuda": "`pip install 'onnxruntime-gpu[cuda,cudnn]'` brings CUDA's libraries",
    "migraphx": "ROCm and MIGraphX have to be installed in the system",
}
#: Why it is only taken when asked for. Others measured it: no faster than the CPU
#: (https://github.com/microsoft/onnxruntime/issues/17654), a vocabulary above 16,384 stays on the CPU
#: (https://github.com/microsoft/onnxruntime/issues/25421), all-MiniLM-L6-v2 failed on texts of changing length
#: (https://github.com/doobidoo/mcp-memory-service/issues/1105).
_COREML = "a graph whose texts change in length is split between it and the CPU; SEKISHO_DEVICE=coreml takes it"
#: Volta: the first with units for fp16 products. Before it fp16 is as slow as fp32, or slower (6.1: a 64th).
_HALF = (7, 0)


@dataclass(frozen=True)
class Placement:
    """card: NVIDIA's, where the device is one; passed_over: each of the other devices, and why it is not taken."""

    device: Device
    reason: str
    card: Card | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def halves(self) -> bool:
        """Whether the device multiplies fp16 faster than fp32."""
        return self.card is not None and self.card.capability >= _HALF


#: Where nothing else was looked for.
ON_CPU = Placement(CPU, "the CPU")


def place(asked: Device | None, accelerators: Accelerators) -> Placement:
    """The device asked for, or the best that can be used.

    Raises InternalError where a device was asked for that cannot be used: running elsewhere would go unnoticed.
    """
    if asked is not None:
        problem = why_not(asked, accelerators)
        if problem is not None:
            raise InternalError(f"SEKISHO_DEVICE is {asked}, which cannot be used here: {problem}")
        return Placement(asked, f"SEKISHO_DEVICE asks for {asked}", _card(asked, accelerators))
    wanted = (Device("cuda"), Device("migraphx"))
    problems = {device: why_not(device, accelerators) for device in wanted}
    best = next((device for device in wanted if problems[device] is None), CPU)
    over = [f"{device}: {problem}" for device, problem in problems.items() if problem is not None]
    if "coreml" in accelerators.providers:
        over.append(f"coreml: {_COREML}")
    reason = "no other device can be used" if best == CPU else f"{best} can be used and is faster than the CPU"
    return Placement(best, reason, _card(best, accelerators), tuple(over))


def why_not(device: Device, accelerators: Accelerators) -> str | None:
    """Why a device cannot be used, and what to change; None where it can."""
    kind = device.kind
    if kind == "cpu":
        return None
    if kind in accelerators.unloadable:
        return f"its provider does not load: {accelerators.unloadable[kind]}. {_REMEDIES.get(kind, '')}"
    if kind not in accelerators.providers:
        return _absent(kind, accelerators)
    if kind == "cuda":
        if accelerators.driver.problem is not None:
            return accelerators.driver.problem
        if device.index >= len(accelerators.cards):
            return f"there are {len(accelerators.cards)} cards, counted from 0"
    return None


def _absent(kind: Kind, accelerators: Accelerators) -> str:
    """Why ONNX Runtime does not offer a provider, and the commands that change it.

    Two of its distributions own the same files, so whichever came last is there, and what removes one breaks the other
    (https://github.com/microsoft/onnxruntime/issues/26996).
    """
    build = _BUILDS.get(kind)
    if build is None:
        return "it is a part of macOS"
    alone = f"`pip uninstall -y onnxruntime`, then `pip install --force-reinstall --no-deps {build}`"
    if build in accelerators.distributions:
        others = " and ".join(name for name in accelerators.distributions if name != build) or "another build"
        return f"{build} is installed, and {others} has overwritten its files: {alone}"
    seen = ""
    if kind == "cuda":
        seen = "an NVIDIA driver is here, but " if accelerators.nvidia else "there is no NVIDIA driver, and "
    extra = "sekisho[gpu]" if kind == "cuda" else build
    return f"{seen}{build} is not installed: `pip install '{extra}'`, then {alone}"


def _card(device: Device, accelerators: Accelerators) -> Card | None:
    return accelerators.cards[device.index] if device.kind == "cuda" else None
