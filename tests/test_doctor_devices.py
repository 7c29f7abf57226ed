"""`sekisho doctor` and a server on a machine without the device that was asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="a CUDA provider is here"
)


def sekisho(home: Path, *arguments: str, device: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SEKISHO_DEVICE": device, "SEKISHO_HOME": str(home), "COLUMNS": "200"}
    command = [sys.executable, "-m", "sekisho", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPOSITORY, check=False)


def test_the_doctor_tells_of_every_device_and_what_to_install(tmp_path: Path) -> None:
    done = sekisho(tmp_path, "doctor", "--json", device="auto")
    assert done.returncode == 0, done.stderr
    machine = json.loads(done.stdout)["machine"]
    assert machine["device"] == "cpu: no other device can be used"
    assert "pip install 'sekisho[gpu]'" in machine["cuda"]
    assert {"migraphx", "coreml"} <= machine.keys()


def test_the_doctor_works_where_the_device_asked_for_does_not(tmp_path: Path) -> None:
    done = sekisho(tmp_path, "doctor", device="cuda:1")
    assert done.returncode == 0, done.stderr
    assert "SEKISHO_DEVICE is cuda:1, which cannot be used here" in " ".join(done.stdout.split())
    assert "sekisho[gpu]" in done.stdout, "no markup has eaten it"
    assert "all-minilm-l6-v2" in done.stdout


@pytest.mark.parametrize("command", [("embed", "hello"), ("serve", "--port", "0")])
def test_what_needs_the_device_ends_with_one_line_that_says_what_to_change(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = sekisho(tmp_path, *command, device="cuda")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "SEKISHO_DEVICE is cuda, which cannot be used here" in last
    assert "pip install 'sekisho[gpu]'" in last
    assert "Traceback" not in done.stderr
