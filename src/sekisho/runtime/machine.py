"""What this machine has for inference: cores we may use, number formats the CPU computes in, engines installed."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sekisho.runtime.accelerators import owners

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CPUINFO = Path("/proc/cpuinfo")
#: `sysctl` names of macOS on Intel and the flags they are on Linux. Apple silicon needs none: it is known by its name.
_SYSCTL = {
    "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f",
    "hw.optional.avx512bw": "avx512bw",
    "hw.optional.avx512dq": "avx512dq",
    "hw.optional.avx512vl": "avx512vl",
}
_CGROUP_V1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


@dataclass(frozen=True)
class Machine:
    """cores: how many this process may keep busy; formats: what the CPU computes in, by OpenVINO's names.

    flags: instruction sets by Linux's names (`avx2`, `avx512_vnni`); empty where the system does not tell.
    """

    cores: int
    architecture: str
    processor: str
    formats: frozenset[str]
    onnxruntime: str
    openvino: str | None
    flags: frozenset[str] = frozenset()


#: Instruction sets of x86 that multiply int8 and add up in 32 bits.
_VNNI = frozenset({"avx512_vnni", "avx_vnni"})


def has_vnni(machine: Machine) -> bool:
    """Whether the CPU is known to multiply int8."""
    return bool(machine.flags & _VNNI)


def lacks_vnni(machine: Machine) -> bool:
    """Whether it is known not to, though it is x86; others have instructions of their own, and some tell nothing."""
    return machine.architecture.lower() in {"x86_64", "amd64"} and bool(machine.flags) and not has_vnni(machine)


@cache
def this_machine() -> Machine:
    """Looked at once a process."""
    processor, formats = _openvino_cpu()
    return Machine(
        cores=usable_cores(),
        architecture=platform.machine(),
        processor=processor or platform.processor() or platform.machine(),
        formats=formats,
        onnxruntime=_onnxruntime(),
        openvino=_version("openvino") if importlib.util.find_spec("openvino") else None,
        flags=cpu_flags(),
    )


def usable_cores() -> int:
    """The affinity mask's count, or the cgroup's quota where that is less; never the host's count."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def cpu_quota(v2: Path = _CGROUP_V2, v1: tuple[Path, Path] = _CGROUP_V1) -> float | None:
    """Cores the container may use on average, None where it is not limited (cgroup v2 cpu.max, v1 cfs_quota_us)."""
    try:
        quota, period = v2.read_text().split() if v2.exists() else [path.read_text().strip() for path in v1]
        return None if quota in {"max", "-1"} else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def cpu_flags(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """The instruction sets of the first core. On macOS AVX512-VNNI has no `sysctl` name, so it is not seen there."""
    if sys.platform == "darwin":
        return frozenset(flag for name, flag in _SYSCTL.items() if _sysctl(name))
    try:
        lines = cpuinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return frozenset()
    found = (line.partition(":")[2] for line in lines if line.split(":")[0].strip() in {"flags", "Features"})
    return frozenset(next(found, "").split())


def _sysctl(name: str) -> bool:
    asked = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False)  # noqa: S603 - a fixed program and names of ours
    return asked.stdout.strip() == "1"


def _openvino_cpu() -> tuple[str, frozenset[str]]:
    if importlib.util.find_spec("openvino") is None:
        return "", frozenset()
    import openvino

    core = openvino.Core()
    if "CPU" not in core.available_devices:
        return "", frozenset()
    return core.get_property("CPU", "FULL_DEVICE_NAME"), frozenset(
        core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    )


def _onnxruntime() -> str:
    """Its version, by whichever distribution it came (`onnxruntime-gpu` is one)."""
    return next(version(name) for name in owners())


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
