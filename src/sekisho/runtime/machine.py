"""What this machine has for inference: cores we may use, number formats the CPU computes in, engines installed."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


@dataclass(frozen=True)
class Machine:
    """cores: how many this process may keep busy; formats: what the CPU computes in, by OpenVINO's names."""

    cores: int
    architecture: str
    processor: str
    formats: frozenset[str]
    onnxruntime: str
    openvino: str | None


@cache
def this_machine() -> Machine:
    """Looked at once a process."""
    processor, formats = _openvino_cpu()
    return Machine(
        cores=usable_cores(),
        architecture=platform.machine(),
        processor=processor or platform.processor() or platform.machine(),
        formats=formats,
        onnxruntime=version("onnxruntime"),
        openvino=_version("openvino") if importlib.util.find_spec("openvino") else None,
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


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
