"""A real server in a process of its own, on a free port of loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

_GREETING = re.compile(r"http://127\.0\.0\.1:(\d+)")
_START_SECONDS = 60
_STOP_SECONDS = 40
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Server:
    """A started server: where it listens, what it logged, what it measures."""

    def __init__(self, process: subprocess.Popen[str], port: int, lines: deque[str]) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.lines = lines
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def embed(self, body: dict[str, Any] | None = None, **fields: Any) -> httpx.Response:
        """POST /v1/embeddings."""
        return self.client.post("/v1/embeddings", json=body if body is not None else fields)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name with these labels."""
        total = 0.0
        for line in self.client.get("/metrics").text.splitlines():
            sample = _SAMPLE.fullmatch(line)
            if sample and sample[1] == name and labels.items() <= dict(_LABEL.findall(sample[2] or "")).items():
                total += float(sample[3])
        return total

    def wait_for_metric(self, name: str, least: float, seconds: float = 20, **labels: str) -> float:
        """Wait until the metric is `least` or more; its value."""
        deadline = time.monotonic() + seconds
        while (value := self.metric(name, **labels)) < least:
            assert time.monotonic() < deadline, f"{name} is {value}, not {least}"
            time.sleep(0.02)
        return value

    def wait_until_idle(self, seconds: float = 30) -> None:
        """Wait until no token is queued."""
        deadline = time.monotonic() + seconds
        while (value := self.metric("sekisho_queue_tokens")) > 0:
            assert time.monotonic() < deadline, f"{value} tokens still wait"
            time.sleep(0.02)

    @property
    def threads(self) -> int:
        return int(psutil.Process(self.process.pid).num_threads())

    @property
    def resident_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)


@contextmanager
def serving(home: Path, models: Path, **settings: str) -> Iterator[Server]:
    """Start a server, and stop it as an operator would; `settings` are environment variables without SEKISHO_."""
    foreign = ("SEKISHO_", "HF_", "HOST", "PORT", "APP_PORT", "WORKERS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    environment |= {"SEKISHO_HOME": str(home), "SEKISHO_MODELS": str(models), "SEKISHO_OFFLINE": "true"}
    environment |= {"SEKISHO_CACHE_MIB": "0"}  # what a test sends twice is computed twice, unless it says otherwise
    environment |= {"SEKISHO_TUNE": "off"}
    environment |= {f"SEKISHO_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "sekisho", "serve", "--port", "0"],
        env=environment,
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    lines: deque[str] = deque(maxlen=5000)
    greeted = threading.Event()
    reader = threading.Thread(target=_read, args=(process, lines, greeted), daemon=True)
    reader.start()
    try:
        greeted.wait(_START_SECONDS)
        greeting = _GREETING.search("".join(lines))
        assert greeting is not None, f"the server did not start: {''.join(lines)}"
        server = Server(process, int(greeting[1]), lines)
        with server.client:
            yield server
    finally:
        _stop(process)
        reader.join(5)
        if process.stderr is not None:
            process.stderr.close()


def _read(process: subprocess.Popen[str], lines: deque[str], greeted: threading.Event) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if _GREETING.search(line):
            greeted.set()
    greeted.set()


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
