"""OpenVINO's Python binding, where it has surprised us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
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
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(minilm_home)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout == "done\n", done.stderr
