"""Nobody is told what runs here: the engines' reports to their makers are off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Loads a model in one engine, as a server does, and ends.
LOAD = """
import sys
from pathlib import Path
from sekisho.contract import Contract
from sekisho.runtime.load import load_model
from sekisho.runtime.select import Choice

directory = next(Path(sys.argv[1], "models", "all-minilm-l6-v2").glob("[!.]*/"))
load_model(directory, Contract.read(directory), Choice(sys.argv[2], "fp32", 1, 1, "")).close()
assert sys.modules["openvino_telemetry"] is None
"""


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_leaves_no_trace(minilm_home: Path, tmp_path: Path, engine: str) -> None:
    """ONNX Runtime's reporter writes an id of the device and a queue of reports below HOME, and a session's to TMPDIR.

    Without `silence` three files are found here.
    """
    own = {name: str(tmp_path) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    # In continuous integration it is silent by itself.
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "GITHUB_ACTIONS"}} | own
    command = [sys.executable, "-c", LOAD, str(minilm_home), engine]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
