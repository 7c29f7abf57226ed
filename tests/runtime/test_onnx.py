"""ONNX Runtime on the CPU: what one long text takes is given back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: Prints KiB of anonymous memory after a small batch and after a large one, and how far the same row is from itself.
LARGE = """
import json, sys
from pathlib import Path
import numpy as np
from sekisho.contract import Contract, Tokens
from sekisho.runtime.onnx import OnnxRuntimeSession
from sekisho.arrays import pad

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def rows(shape):
    return session.run(0, pad([Tokens([1] * shape[1])] * shape[0], 0, contract.inputs))[0]

directory = next(Path(sys.argv[1], "models", "all-minilm-l6-v2").glob("[!.]*/"))
contract = Contract.read(directory)
session = OnnxRuntimeSession(directory, contract.outputs, 1, 2)
small, before = rows((4, 256)), anonymous()
large, after = rows((16, 256)), anonymous()
print(json.dumps({"grown": after - before, "apart": float(np.abs(small - large[:4]).max())}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what is resident is read from /proc")
def test_what_a_large_run_took_goes_back(minilm_home: Path) -> None:
    """Kept, it would be 110 MiB more; a small batch's memory is kept."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(minilm_home)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["grown"] < 16 * 1024
    assert report["apart"] < 1e-6
