"""Where the server's time goes under single texts by 64 clients (P2): py-spy's samples as a flame graph and a table.

py-spy is run by `uv`, which fetches it where it is not there yet; it needs to be allowed to look into another process.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sekisho.bench.load import send
from sekisho.bench.mix import texts
from sekisho.bench.plan import Plan
from sekisho.bench.server import sekisho
from sekisho.bench.throughput import SINGLE_CLIENTS

_SPY = ("uv", "tool", "run", "py-spy@0.4.1", "record", "--rate", "200", "--threads", "--idle")
_TEXTS = 2048
#: Seconds of load before the samples, after them and beyond what py-spy needs to start.
_AROUND = 8


def sample(seconds: int, how: str, out: Path) -> None:
    """Run the load and write py-spy's samples of the server in the format `how`. Raises CalledProcessError."""
    with sekisho("all-minilm-l6-v2", {"SEKISHO_CACHE_MIB": "0"}) as served:
        spy = [
            *_SPY,
            "--pid",
            str(served.process.pid),
            "--duration",
            str(seconds),
            "--format",
            how,
            "--output",
            str(out),
        ]
        watching = subprocess.Popen(spy, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        send(Plan(served.endpoint, texts(_TEXTS), 1, SINGLE_CLIENTS, seconds=seconds + _AROUND))
        _, told = watching.communicate(timeout=120)
        if watching.returncode:
            raise subprocess.CalledProcessError(watching.returncode, spy, stderr=told)


def plateaus(lines: Iterable[str]) -> dict[str, Counter[str]]:
    """By thread, how many samples each function was in, from py-spy's `raw` lines: frames by semicolon, a count."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        held = found.setdefault(thread.partition(":")[2].strip() or thread, Counter())
        held[""] += int(count)
        for frame in set(frames):
            held[frame] += int(count)
    return found


def main() -> None:
    """What scripts/flame runs."""
    parser = argparse.ArgumentParser(prog="scripts/flame", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--svg", type=Path, help="draw the flame graph here")
    parser.add_argument(
        "--least", type=float, default=0.02, help="share of a thread's samples below which nothing is told"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        sample(given.seconds, "raw", raw)
        found = plateaus(raw.read_text("utf-8").splitlines())
    if given.svg:
        sample(given.seconds, "flamegraph", given.svg)
    for thread, counts in found.items():
        table = Table(title=f"{thread}: {counts['']:,} samples", title_justify="left")
        table.add_column("share", justify="right")
        table.add_column("function")
        for frame, count in counts.most_common():
            if frame and count >= given.least * counts[""]:
                table.add_row(f"{count / counts['']:.0%}", frame)
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
