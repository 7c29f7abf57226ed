"""OpenVINO and its Python binding, where they have surprised us."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOGETHER = """
import sys, threading
from pathlib import Path
from sekisho.contract import Contract, Tokens
from sekisho.runtime.load import load_model
from sekisho.runtime.select import Choice

directory = next(Path(sys.argv[1], "models", "all-minilm-l6-v2").glob("[!.]*/"))
model = load_model(directory, Contract.read(directory), Choice("openvino", "fp32", 2, 1, ""))
together = threading.Barrier(2)

def lane(number):
    together.wait()
    model.run(number, [Tokens([101, 2000, 102])])

threads = [threading.Thread(target=lane, args=(number,)) for number in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("done")
"""


def test_two_lanes_may_start_at_the_same_moment(minilm_home: Path) -> None:
    """Without the lock around a session's first use most fresh processes hang here for ever."""
    for _ in range(4):
        assert _run(TOGETHER, minilm_home) == "done\n"


#: Prints KiB: anonymous memory after a hundred shapes and after two hundred, and what is resident of the weights' file
#: before the first of them.
SHAPES = """
import json, sys
from pathlib import Path
import numpy as np
from sekisho.contract import Contract, Tokens
from sekisho.runtime.machine import this_machine
from sekisho.runtime.openvino import OpenVinoSession
from sekisho.arrays import pad

def resident(kind, path):
    found, inside = 0, kind == "RssAnon"
    for line in Path("/proc/self", path).read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith("model.onnx.data")
        elif inside and line.startswith(kind + ":"):
            found += int(line.split()[1])
    return found

directory = next(Path(sys.argv[1], "models", "all-minilm-l6-v2").glob("[!.]*/"))
precision = "bf16" if "BF16" in this_machine().formats else "fp32"
contract = Contract.read(directory)
session = OpenVinoSession(directory, contract.outputs, 1, 1, precision)
report = {"weights": resident("Rss", "smaps")}
shapes = [(rows, length) for length in range(3, 53) for rows in range(1, 5)]
for number, shape in enumerate(shapes, 1):
    session.run(0, pad([Tokens([1] * shape[1])] * shape[0], 0, contract.inputs))
    if number in (100, 200):
        report[str(number)] = resident("RssAnon", "status")
print(json.dumps(report))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what is resident is read from /proc")
def test_what_is_kept_for_shapes_is_bounded_and_weights_are_not_held_twice(minilm_home: Path) -> None:
    """With the engine's own bounds a hundred more shapes take 40 MiB, and the whole file stays resident."""
    report = json.loads(_run(SHAPES, minilm_home))
    weights = next(minilm_home.glob("models/all-minilm-l6-v2/[!.]*/model.onnx.data")).stat().st_size / 1024
    assert report["weights"] < weights / 8
    assert report["200"] - report["100"] < 16 * 1024


def _run(program: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, str(home)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
