"""Which ready-made graph of a model a machine runs, if any: pure, from the registry and the CPU's flags."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sekisho.catalog.registry import Cpu, Spec

_ARM = frozenset({"arm64", "aarch64"})
_X86 = frozenset({"x86_64", "amd64"})

#: What ONNX Runtime's kernels for these files use, best first. Flags by Linux's names; avx512f alone (Knights
#: Landing) has none of the byte instructions.
_AVX512 = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
_NEEDS: Mapping[Cpu, frozenset[str]] = {
    "avx512_vnni": _AVX512 | {"avx512_vnni"},
    "avx512": _AVX512,
    "avx2": frozenset({"avx2"}),
}


def variants_for(architecture: str, flags: Collection[str]) -> list[Cpu]:
    """Every variant that the CPU can run well, best first; none on an unknown architecture."""
    machine = architecture.casefold()
    if machine in _ARM:
        return ["arm64"]
    if machine not in _X86:
        return []
    return [variant for variant, needed in _NEEDS.items() if needed <= set(flags)]


def choose_variant(offered: Collection[str], architecture: str, flags: Collection[str]) -> Cpu | None:
    """The best of the offered variants; None where none fits, so that our own conversion is used."""
    return next((variant for variant in variants_for(architecture, flags) if variant in offered), None)


@dataclass(frozen=True)
class Processor:
    """architecture: as `platform.machine()` says it; flags: instruction sets by Linux's names."""

    architecture: str = ""
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class GraphChoice:
    """What a model's graph comes from on this machine. onnx: the ready-made file; None: made from the weights."""

    onnx: str | None
    reason: str


def choose_graph(spec: Spec, processor: Callable[[], Processor]) -> GraphChoice:
    """The file of the registry that this machine runs, and why.

    Variants are int8 whose vectors depend on their batch, so nobody gets one without asking: only `precision: int8`
    takes them, ahead of int8 of our own. A graph under `onnx` was asked for by its name, so it goes before the weights.
    """
    if spec.precision == "int8" and spec.variants:
        machine = processor()
        variant = choose_variant(spec.variants, machine.architecture, machine.flags)
        if variant is not None:
            return GraphChoice(
                spec.variants[variant], f"precision int8: the variant {variant} is the best for this CPU"
            )
        unfit = f"none of the variants {', '.join(spec.variants)} fits this CPU"
        return GraphChoice(spec.onnx, f"{unfit}: {'`onnx` stands in' if spec.onnx else 'made from the weights'}")
    if spec.onnx is not None:
        return GraphChoice(spec.onnx, "`onnx` in models.yaml")
    if spec.variants:
        return GraphChoice(None, "made from the weights; variants are taken with `precision: int8`")
    return GraphChoice(None, "made from the weights")
