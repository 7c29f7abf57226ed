"""What the machine has: quotas of both cgroup versions, never the host's count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.runtime.machine import cpu_quota, this_machine, usable_cores

Files = tuple[Path, tuple[Path, Path]]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return tmp_path / "cpu.max", (tmp_path / "cpu.cfs_quota_us", tmp_path / "cpu.cfs_period_us")


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2.0),
        ("150000 100000\n", 1.5),
        ("50000 100000", 0.5),
        ("1000 10000", 0.1),
        ("", None),
        ("200000", None),
        ("many 100000", None),
        ("200000 0", None),
        ("1 2 3", None),
    ],
)
def test_version_2(files: Files, text: str, cores: float | None) -> None:
    files[0].write_text(text)
    assert cpu_quota(*files) == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"),
    [("-1\n", "100000\n", None), ("250000\n", "100000\n", 2.5), ("50000", "100000", 0.5), ("x", "100000", None)],
)
def test_version_1(files: Files, quota: str, period: str, cores: float | None) -> None:
    files[1][0].write_text(quota)
    files[1][1].write_text(period)
    assert cpu_quota(*files) == cores


def test_version_2_goes_before_version_1(files: Files) -> None:
    files[0].write_text("max 100000")
    files[1][0].write_text("100000")
    files[1][1].write_text("100000")
    assert cpu_quota(*files) is None


def test_no_cgroup_at_all(files: Files) -> None:
    assert cpu_quota(*files) is None


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (2.0, 2), (1.5, 2), (0.1, 1), (64.0, 8)])
def test_the_smaller_of_mask_and_quota_rounded_up(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr("sekisho.runtime.machine.cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert usable_cores() == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_the_affinity_mask_counts() -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    program += "from sekisho.runtime.machine import usable_cores; print(usable_cores())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_this_machine() -> None:
    machine = this_machine()
    assert 1 <= machine.cores <= (os.cpu_count() or 1)
    assert machine.onnxruntime[0].isdigit()
    assert machine.architecture
    if machine.openvino is not None:
        assert "FP32" in machine.formats
    assert this_machine() is machine


def test_this_machine_without_openvino() -> None:
    """As it is where the extra is not installed."""
    program = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "openvino" else find(name, *rest)
from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import choose
machine = this_machine()
assert machine.openvino is None and not machine.formats and machine.processor, machine
print(choose(machine, "auto", "auto").engine)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "onnxruntime"
