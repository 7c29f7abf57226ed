"""Which ready-made variant of a model fits a CPU: pure, from the machine's architecture and flags."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sekisho.catalog.registry import Cpu

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
