"""A model hub on loopback: the part of the protocol that huggingface_hub speaks to fetch one file.

What a repository answers is in its name: `org/ok` serves the files, `org/gated` refuses them, and so on.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

_RESOLVE = re.compile(r"^/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)$")

#: Repository → (status, X-Error-Code, X-Error-Message).
_REFUSALS = {
    "org/private": (401, "RepoNotFound", "Invalid username or password."),
    "org/gated": (403, "GatedRepo", "Access to model org/gated is restricted."),
    "org/absent": (404, "RepoNotFound", "Repository not found"),
    "org/moved": (404, "RevisionNotFound", "Invalid rev id"),
    "org/busy": (429, "", "We had to rate limit you"),
    "org/broken": (500, "", "Internal Error"),
    "org/forbidden": (403, "", "Forbidden"),
}


class Hub(ThreadingHTTPServer):
    """`asked`: (method, repository, file) of every request; `agents`: every User-Agent."""

    daemon_threads = True

    def __init__(self, files: Path, revision: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files = files
        self.revision = revision
        self.asked: list[tuple[str, str, str]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        found = _RESOLVE.match(unquote(self.path))
        if found is None:
            self._refuse(404, "", "no such route")
            return
        repository, name = found["repository"], found["name"]
        self.server.asked.append((self.command, repository, name))
        path = self.server.files / name
        if repository in _REFUSALS:
            self._refuse(*_REFUSALS[repository])
        elif found["revision"] != self.server.revision:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        elif not path.is_file() or (repository == "org/incomplete" and name == "tokenizer.json"):
            self._refuse(404, "EntryNotFound", "Entry not found")
        else:
            self._send(path.read_bytes(), repository, with_body=with_body)

    def _send(self, data: bytes, repository: str, *, with_body: bool) -> None:
        if repository == "org/tampered":
            data = bytes([data[0] ^ 1]) + data[1:]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.server.revision)
        self.end_headers()
        if with_body:
            self.wfile.write(data[: len(data) // 2] if repository == "org/cut" else data)
        if repository == "org/cut":
            self.close_connection = True

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def hub(files: Path, revision: str) -> Iterator[Hub]:
    """A running hub that serves the files of a directory."""
    server = Hub(files, revision)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
