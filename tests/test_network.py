"""The guard of tests/network.py, in a pytest of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

_CONFTEST = """
from tests.network import NetworkGuard

def pytest_configure(config):
    config.pluginmanager.register(NetworkGuard())
"""

_LOOK_UP = "socket.getaddrinfo('hub.example', 443)"
_CONNECT = "socket.create_connection(('203.0.113.1', 443), 1)"
_SEND = "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('203.0.113.1', 53))"
_BY_NAME = "socket.gethostbyname('hub.example')"
_HERE = "[socket.getaddrinfo(host, 9) for host in ('localhost', '127.0.0.1', '::1', None)]"


def run(directory: Path, *bodies: str, fixture: str = "") -> tuple[list[str], str]:
    """Outcomes of a test for each body, in order, and all that pytest printed."""
    (directory / "conftest.py").write_text(_CONFTEST)
    head = "import contextlib, socket, threading, time\nimport pytest\n\n" + fixture
    tests = "".join(f"\ndef test_{number}():\n    {body}\n" for number, body in enumerate(bodies))
    (directory / "test_them.py").write_text(head + tests)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--rootdir", str(directory), str(directory)],
        env={"PYTHONPATH": str(REPOSITORY), "COLUMNS": "300"}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return re.findall(r"::test_\d+ (PASSED|FAILED|ERROR)", done.stdout), done.stdout + done.stderr


@pytest.mark.parametrize("attempt", [_LOOK_UP, _CONNECT, _SEND, _BY_NAME])
def test_an_attempt_fails_its_test_also_where_its_error_is_caught(tmp_path: Path, attempt: str) -> None:
    caught = f"with contextlib.suppress(OSError): {attempt}"
    outcomes, printed = run(tmp_path, "pass", caught, "pass")
    assert outcomes == ["PASSED", "FAILED", "PASSED"]
    assert "tests may not reach the network" in printed


def test_an_attempt_of_a_thread_fails_the_test(tmp_path: Path) -> None:
    function = f"def away():\n    with contextlib.suppress(OSError): {_LOOK_UP}\n\n"
    outcomes, printed = run(
        tmp_path, "threading.Thread(target=away, name='stray').start(); time.sleep(0.3)", "pass", fixture=function
    )
    assert outcomes == ["FAILED", "PASSED"]
    assert "looked up 'hub.example' in stray during" in printed


def test_an_attempt_of_a_fixture_is_an_error_of_the_test(tmp_path: Path) -> None:
    fixture = (
        "@pytest.fixture(scope='session', autouse=True)\ndef early():\n"
        f"    with contextlib.suppress(OSError): {_LOOK_UP}\n\n"
    )
    assert run(tmp_path, "pass", "pass", fixture=fixture)[0] == ["ERROR", "PASSED"]


def test_an_attempt_after_the_last_test_fails_the_run(tmp_path: Path) -> None:
    fixture = (
        "@pytest.fixture(scope='session', autouse=True)\ndef late():\n"
        f"    yield\n    with contextlib.suppress(OSError): {_LOOK_UP}\n\n"
    )
    outcomes, printed = run(tmp_path, "pass", fixture=fixture)
    assert outcomes[-1:] == ["ERROR"]
    assert "tests may not reach the network" in printed


def test_loopback_is_free(tmp_path: Path) -> None:
    connect = (
        "server = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(server.getsockname()).close(); server.close()"
    )
    assert run(tmp_path, _HERE, connect)[0] == ["PASSED", "PASSED"]
