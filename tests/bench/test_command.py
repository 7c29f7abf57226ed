"""`sekisho bench`, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.bench.run import OWN
from tests.bench.conftest import MODEL
from tests.http.live import Server


def bench(home: Path, models: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"], "SEKISHO_HOME": str(home), "SEKISHO_MODELS": str(models), "SEKISHO_OFFLINE": "true",
        "SEKISHO_ENGINE": "onnxruntime",
    }  # fmt: skip
    command = [sys.executable, "-m", "sekisho", "bench", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=home)


@pytest.mark.timeout(300)
def test_a_quick_run_measures_every_bar(minilm_home: Path, tiny_registry: Path, tmp_path: Path, live: Server) -> None:
    path = tmp_path / "report.json"
    other = f"http://127.0.0.1:{live.port}/v1"
    done = bench(minilm_home, tiny_registry, "--quick", "--model", MODEL, "--json", str(path), "--url", other)
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text("utf-8"))
    assert {row["bar"] for row in report["rows"]} >= set(OWN)
    assert [point["clients"] for point in report["curves"]["Sekisho"]] == [1, 16]
    assert report["stages"]["64"]["run"] > 0
    assert MODEL in report["about"]["Sekisho"]
    assert any("largest difference" in row["what"] for row in report["rows"])
    assert any(f"127.0.0.1:{live.port}" in row["what"] for row in report["rows"])
    for bar in OWN:
        assert f"│ {bar} " in done.stdout


def test_only_what_is_asked_for_is_measured(minilm_home: Path, tiny_registry: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    done = bench(minilm_home, tiny_registry, "--quick", "--only", "p10", "--json", str(path))
    assert done.returncode == 0, done.stderr
    assert {row["bar"] for row in json.loads(path.read_text("utf-8"))["rows"]} == {"P10"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--only", "P1,P99"), "--only: no P99 here; there are P1, P2"),
        (("--model", "no-such"), "no-such"),
        (("--url", "https://example.test/v1"), "begins with http://"),
        (("--url", "http://127.0.0.1:9/v1"), "http://127.0.0.1:9/v1/models does not list a model"),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(
    minilm_home: Path, tiny_registry: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = bench(minilm_home, tiny_registry, "--quick", *arguments)
    assert done.returncode == 1
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
