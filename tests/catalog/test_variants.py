"""The ready-made file that a CPU gets."""

from __future__ import annotations

import pytest

from sekisho.catalog.variants import choose_variant, variants_for

HASWELL = {"sse4_2", "avx", "avx2", "fma"}
SKYLAKE = HASWELL | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}
ICELAKE = SKYLAKE | {"avx512_vnni", "avx512_vbmi"}
ALL = ["arm64", "avx512_vnni", "avx512", "avx2"]


@pytest.mark.parametrize(
    ("architecture", "flags", "expected"),
    [
        ("x86_64", ICELAKE, ["avx512_vnni", "avx512", "avx2"]),
        ("AMD64", ICELAKE, ["avx512_vnni", "avx512", "avx2"]),
        ("x86_64", SKYLAKE, ["avx512", "avx2"]),
        ("x86_64", HASWELL, ["avx2"]),
        ("x86_64", HASWELL | {"avx_vnni"}, ["avx2"]),
        ("x86_64", HASWELL | {"avx512f", "avx512cd", "avx512er"}, ["avx2"]),  # Knights Landing
        ("x86_64", HASWELL | {"avx512_vnni"}, ["avx2"]),  # a hypervisor that hides half
        ("x86_64", {"sse4_2", "avx"}, []),
        ("x86_64", set(), []),
        ("arm64", set(), ["arm64"]),
        ("aarch64", {"asimd", "asimddp"}, ["arm64"]),
        ("arm64", ICELAKE, ["arm64"]),
        ("riscv64", ICELAKE, []),
        ("armv7l", {"neon"}, []),
        ("i686", HASWELL, []),
        ("", set(), []),
    ],
)
def test_what_a_cpu_runs_best_first(architecture: str, flags: set[str], expected: list[str]) -> None:
    assert variants_for(architecture, flags) == expected
    assert choose_variant(ALL, architecture, flags) == next(iter(expected), None)


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (["avx2"], "avx2"),
        (["avx2", "avx512"], "avx512"),
        (["avx512_vnni", "arm64"], "avx512_vnni"),
        (["arm64"], None),
        ([], None),
    ],
)
def test_the_best_that_is_offered(offered: list[str], expected: str | None) -> None:
    assert choose_variant(offered, "x86_64", ICELAKE) == expected
