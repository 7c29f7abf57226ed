"""The instruction sets of the CPU, as the system tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.runtime import machine
from sekisho.runtime.machine import cpu_flags


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\nbogomips: 1\n\nprocessor: 1\nflags\t: fpu\n",
         {"fpu", "avx2", "avx512_vnni"}),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", {"fp", "asimd", "asimddp"}),
        ("vmx flags\t: vnmi\n", set()),
        ("", set()),
    ],
)  # fmt: skip
def test_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: set[str]) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_flags(tmp_path / "cpuinfo") == expected


def test_where_there_is_no_cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "freebsd")
    assert cpu_flags(tmp_path / "absent") == frozenset()


def test_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(machine, "_sysctl", lambda name: name in {"hw.optional.avx2_0", "hw.optional.avx512f"})
    assert cpu_flags() == {"avx2", "avx512f"}


def test_this_machine_tells_some() -> None:
    assert machine.this_machine().flags == cpu_flags()
