"""Tests stay on this machine: what leads elsewhere is refused, and fails the test that wanted it.

Seen by an audit hook, so also under an `except` and in other threads. What happens in other processes is theirs;
tests/catalog/test_offline.py looks at those that matter.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

_LOOK_UPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
_CONNECTIONS = {"socket.connect", "socket.sendto", "socket.sendmsg"}


class NetworkGuard:
    """A pytest plugin. An attempt fails the step (set-up, call, tear-down) of the test that runs at that moment."""

    def __init__(self) -> None:
        self._attempts: list[str] = []
        sys.addaudithook(self._watch)

    def _watch(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _LOOK_UPS:
            host = arguments[0]
            if not _is_here(host) and not _is_address(host):
                self._note(f"looked up {host!r}")
                raise socket.gaierror(socket.EAI_NONAME, "tests look no names up")
        elif event in _CONNECTIONS:
            address = arguments[1]
            if isinstance(address, tuple) and not _is_here(address[0]):
                self._note(f"{event.removeprefix('socket.')} to {address!r}")
                raise PermissionError(f"tests connect to loopback only, not to {address}")

    def _note(self, attempt: str) -> None:
        test = os.environ.get("PYTEST_CURRENT_TEST", "no test")
        self._attempts.append(f"{attempt} in {threading.current_thread().name} during {test}")

    def take(self) -> list[str]:
        """What was refused so far; from here on it is no failure. For tests about names that lead nowhere."""
        attempts, self._attempts = self._attempts, []
        return attempts

    def _settle(self) -> None:
        if attempts := self.take():
            pytest.fail("tests may not reach the network: " + "; ".join(attempts), pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self) -> Iterator[None]:
        """Attempts of a thread that outlived the test before it are found here."""
        yield
        self._settle()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        yield
        self._settle()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self) -> Iterator[None]:
        yield
        self._settle()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """What came after the last test."""
        if self._attempts:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            sys.stderr.write(f"\ntests may not reach the network: {'; '.join(self._attempts)}\n")


def _is_here(host: object) -> bool:
    if host in {None, "", b"", "localhost", b"localhost"}:
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _is_address(host: object) -> bool:
    """A number needs no looking up."""
    return _address(host) is not None


def _address(host: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host))
    except ValueError:
        return None
