"""A process that serves: one listening socket, one event loop, an orderly end."""

from __future__ import annotations

import errno
import gc
import ipaddress
import socket
import sys
from types import FrameType

import uvicorn

from sekisho.assemble import Parts
from sekisho.http.app import create_app
from sekisho.http.protocol import Protocol
from sekisho.observability import WORKERS

_BACKLOG = 2048
#: Longer than any client's connection pool keeps an idle connection, so that it is never us who closes it under a
#: request.
_KEEP_ALIVE_SECONDS = 75
#: New objects, less those given back, after which Python looks for cycles; its own 700 are some ten requests' at once.
_COLLECT_AFTER = 20_000


class CannotServe(Exception):
    """The server cannot start; the message says what to change."""


class _Server(uvicorn.Server):
    """uvicorn, which tells the pool when the end begins."""

    def __init__(self, config: uvicorn.Config, parts: Parts) -> None:
        super().__init__(config)
        self._parts = parts

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._parts.pool.drain()
        super().handle_exit(sig, frame)


def serve(parts: Parts, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; running requests are finished first."""
    config = uvicorn.Config(
        create_app(parts),
        http=Protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(parts.settings.drain_seconds),
    )
    _spare_the_collector()
    WORKERS.set(1)
    _Server(config, parts).run(sockets=[listening])


def _spare_the_collector() -> None:
    """What is there before the first request stays until the end, and is not looked through again and again.

    Under 64 clients their requests alone were enough for a collection every ten: 70 µs of CPU a request, two thirds of
    them in collections of everything there is. Nearly all that a request makes goes with its last reference.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket. Raises CannotServe where the address cannot be had.

    shared: others that are shared, of this user, may listen there too; the kernel deals connections out among them.
    """
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[4][:2], family=address[0], backlog=_BACKLOG, reuse_port=shared)
    except socket.gaierror:
        raise CannotServe(f"{host!r} is no address of this machine: set HOST to one, such as 127.0.0.1") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotServe(
                f"port {port} on {host} is in use: stop the other program, or set PORT to another"
            ) from None
        raise CannotServe(f"cannot listen on {host}:{port}: {error.strerror}") from None


def listen_each(host: str, port: int, workers: int) -> list[socket.socket]:
    """A listening socket for each worker, all on one address. Raises CannotServe where it cannot be had.

    From one socket whoever wakes up first takes every connection that waits: of 64 connections one of two workers
    often got 60 or all. Linux deals them out by a hash, to 34 and 30 in the median. Other systems' SO_REUSEPORT does
    not, so their workers share one socket.
    """
    alone = listen(host, port)  # in use by anybody, another Sekisho included: an error
    if sys.platform != "linux":
        return [alone] * workers
    port = alone.getsockname()[1]
    alone.close()
    return [listen(host, port, shared=True) for _ in range(workers)]


def check_exposure(host: str, *, has_keys: bool, anonymous: bool) -> None:
    """A server without keys is for this machine only. Raises CannotServe."""
    if has_keys or anonymous or _is_loopback(host):
        return
    raise CannotServe(
        f"{host} can be reached from other machines and no API key is set: set SEKISHO_API_KEYS, "
        "or SEKISHO_ANONYMOUS=true to serve everybody"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
