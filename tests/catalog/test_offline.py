"""A prepared model is served without one call to the network: sockets that lead anywhere are forbidden."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import REPOSITORY

#: Loaded by Python before anything else. Listening stays allowed; looking up, connecting and sending do not.
FORBID = """
import os, sys

def watch(event, arguments):
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.gethostbyname", "socket.gethostbyaddr"}:
        wanted = True
    elif event == "socket.getaddrinfo":
        wanted = not str(arguments[0]).replace(".", "").isdigit()
    else:
        return
    if wanted:
        with open(os.environ["CALLS"], "a") as file:
            file.write(f"{event} {arguments[1:] if event != 'socket.getaddrinfo' else arguments}\\n")
        raise PermissionError(f"forbidden here: {event}")

sys.addaudithook(watch)
"""


@pytest.fixture
def forbidden(tmp_path: Path, minilm_home: Path) -> dict[str, str]:
    """The environment of a process without network, and of a user who set nothing else."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FORBID)
    (tmp_path / "calls").write_text("")
    return {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "site"), "CALLS": str(tmp_path / "calls"),
        "SEKISHO_HOME": str(minilm_home), "HF_HOME": str(tmp_path / "hub"),
    }  # fmt: skip


def calls(environment: dict[str, str]) -> str:
    return Path(environment["CALLS"]).read_text()


def test_the_guard_guards(forbidden: dict[str, str]) -> None:
    program = "import socket; socket.create_connection(('127.0.0.1', 9))"
    assert subprocess.run([sys.executable, "-c", program], env=forbidden, check=False, capture_output=True).returncode
    assert "socket.connect" in calls(forbidden)


@pytest.mark.parametrize("offline", ["1", "0"])
def test_a_prepared_model_is_served_with_no_network(forbidden: dict[str, str], tmp_path: Path, offline: str) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sekisho", "serve", "--port", "0", "--models", str(REPOSITORY / "models.yaml")],
            env=forbidden | {"SEKISHO_OFFLINE": offline}, stderr=log, cwd=tmp_path,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while (base := re.search(r"http://127\.0\.0\.1:\d+", (tmp_path / "log").read_text())) is None:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        answer = httpx.post(f"{base[0]}/v1/embeddings", json={"input": "天気", "model": "all-minilm-l6-v2"}, timeout=60)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["data"][0]["embedding"]) == 384
    finally:
        process.terminate()
        process.wait(30)
    assert calls(forbidden) == ""


@pytest.mark.parametrize("command", [["pull", "all-minilm-l6-v2"], ["verify", "all-minilm-l6-v2"], ["cache", "--json"]])
def test_commands_on_a_prepared_model_need_no_network(forbidden: dict[str, str], command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sekisho", *command, "--models", str(REPOSITORY / "models.yaml")],
        env=forbidden, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert calls(forbidden) == ""
    if command[0] == "cache":
        assert json.loads(done.stdout)[0]["model"] == "all-minilm-l6-v2"
