"""How much memory this process may still take."""

from __future__ import annotations

from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Bytes, by the machine and by the container's limit (cgroup v2); None where the system does not tell."""
    known = [free for free in (_of_machine(meminfo), _of_container(cgroup)) if free is not None]
    return min(known, default=None)


def _of_machine(meminfo: Path) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _of_container(cgroup: Path) -> int | None:
    """Pages of files that nobody used lately are given back when they are asked for, so they count as free."""
    try:
        most, used = (cgroup / "memory.max").read_text().strip(), int((cgroup / "memory.current").read_text())
        counts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return None if most == "max" else max(0, int(most) - used + int(counts["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return None
