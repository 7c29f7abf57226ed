"""A model hub on loopback: the part of the protocol that huggingface_hub speaks to list a repository and fetch files.

`/api/models/…` resolves a revision and lists its files. `/…/resolve/…` answers a plain file with its bytes and a large
one (LFS) with a redirect to a signed address on another host, here `localhost` in place of `127.0.0.1`.

What a repository answers is in its name: `org/ok` serves the files, `org/gated` refuses them, and so on. A test
may give single requests something else to do, with `Hub.plan`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_RESOLVE = re.compile(r"^/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)$")
_API = re.compile(r"^/api/models/(?P<repository>[^/]+/[^/]+)(/revision/(?P<revision>.+))?$")
_STORAGE = re.compile(r"^/storage/(?P<repository>[^/]+/[^/]+)/(?P<name>.+)$")

#: Repository → (status, X-Error-Code, X-Error-Message).
_REFUSALS = {
    "org/private": (401, "RepoNotFound", "Invalid username or password."),
    "org/gated": (401, "GatedRepo", "Access to model org/gated is restricted."),
    "org/terms": (403, "GatedRepo", "Access to model org/terms is restricted."),
    "org/absent": (404, "RepoNotFound", "Repository not found"),
    "org/moved": (404, "RevisionNotFound", "Invalid rev id"),
    "org/busy": (429, "", "We had to rate limit you"),
    "org/broken": (500, "", "Internal Error"),
    "org/forbidden": (403, "", "Forbidden"),
}
_LARGE = (".safetensors", ".onnx", ".bin")
TOKEN = "hf_of_the_test"


@dataclass(frozen=True)
class Act:
    """What one request gets in place of the plain answer.

    status: with that status and no body. cut: after so many bytes the connection drops. slow: seconds between
    pieces of a sixteenth. declare: a Content-Length of so many bytes more than are sent. damage: one bit is wrong.
    ranges: False answers a range request with the whole file.
    """

    status: int = 0
    retry_after: str = ""
    code: str = ""
    cut: int | None = None
    slow: float = 0
    declare: int = 0
    damage: bool = False
    ranges: bool = True


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    route: str
    repository: str
    name: str
    range: str | None
    token: str | None


class Hub(ThreadingHTTPServer):
    """`asked`: (method, repository, file) of every request for a file; `log`: every request in full."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, files: Path, revision: str) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files = files
        self.revision = revision
        self.refs = {"main": revision, "v1.0": revision}
        self.log: list[Asked] = []
        self._plans: defaultdict[tuple[str, str, str], list[Act]] = defaultdict(list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def asked(self) -> list[tuple[str, str, str]]:
        return [(asked.method, asked.repository, asked.name) for asked in self.log if asked.route == "resolve"]

    def plan(self, method: str, name: str, *acts: Act, repository: str = "org/ok") -> None:
        """The next requests of that method for that file; `name` "" is the listing. The body of a large file is sent by
        the storage, where the plan for GET applies."""
        self._plans[method, repository, name] += acts

    def act(self, method: str, repository: str, name: str) -> Act:
        planned = self._plans[method, repository, name]
        return planned.pop(0) if planned else Act()

    def forget(self) -> None:
        """Plans and log."""
        self._plans.clear()
        self.log.clear()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news."""


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        routes = {"api": _API, "storage": _STORAGE, "resolve": _RESOLVE}
        route, found = next(((r, m) for r, pattern in routes.items() if (m := pattern.match(path))), ("", None))
        if found is None:
            self._refuse(404, "", "no such route")
            return
        repository, name = found["repository"], found.groupdict().get("name") or ""
        headers = self.headers
        self.server.log.append(
            Asked(self.command, route, repository, name, headers.get("Range"), headers.get("Authorization"))
        )
        if route == "storage":
            if parse_qs(address.query).get("signature") != [_signature(name)] or headers.get("Authorization"):
                self._refuse(400, "", "signed addresses take no token")
            else:
                self._send(self.server.files / name, repository, name)
            return
        revision = found["revision"] or "main"
        commit = self.server.refs.get(revision, revision)
        if repository in _REFUSALS:
            self._refuse(*_REFUSALS[repository])
        elif repository == "org/secret" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "GatedRepo", "Access to model org/secret is restricted.")
        elif commit != self.server.revision:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        elif route == "api":
            self._list(repository)
        else:
            self._resolve(repository, name)

    def _list(self, repository: str) -> None:
        act = self.server.act(self.command, repository, "")
        if act.status:
            self._refuse(act.status, act.code, "planned", act.retry_after)
            return
        files = sorted(path for path in self.server.files.rglob("*") if path.is_file())
        body = json.dumps(
            {"id": repository, "modelId": repository, "sha": self.server.revision, "siblings": [*map(self._row, files)]}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _row(self, path: Path) -> dict[str, Any]:
        data = path.read_bytes()
        row: dict[str, Any] = {
            "rfilename": path.relative_to(self.server.files).as_posix(),
            "size": len(data),
            "blobId": _git_oid(data),
        }
        if path.name.endswith(_LARGE):
            digest = hashlib.sha256(data).hexdigest()
            row |= {"blobId": "0" * 40, "lfs": {"sha256": digest, "size": len(data), "pointerSize": 130}}
        return row

    def _resolve(self, repository: str, name: str) -> None:
        path = self.server.files / name
        if not path.is_file() or (repository == "org/incomplete" and name == "tokenizer.json"):
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        large = name.endswith(_LARGE)
        act = self.server.act(self.command, repository, name) if self.command == "HEAD" or not large else Act()
        if act.status:
            self._refuse(act.status, act.code, "planned", act.retry_after)
        elif large:
            data = path.read_bytes()
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}{self._signed(repository, name)}")
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", self.server.revision)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(path, repository, name, act)

    def _signed(self, repository: str, name: str) -> str:
        return f"/storage/{repository}/{name}?signature={_signature(name)}"

    def _send(self, path: Path, repository: str, name: str, act: Act | None = None) -> None:
        act = act or self.server.act(self.command, repository, name)
        if act.status:
            self._refuse(act.status, act.code, "planned", act.retry_after)
            return
        data = path.read_bytes()
        etag = _git_oid(data)
        if act.damage or repository == "org/tampered":
            data = bytes([data[0] ^ 1]) + data[1:]
        size, start = len(data), _start(self.headers.get("Range")) if act.ranges else 0
        if start >= size > 0 and start:
            self._refuse(416, "", "range")
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        data = data[start:]
        self.send_header("Content-Length", str(len(data) + act.declare))
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", self.server.revision)
        self.end_headers()
        if self.command == "GET":
            self._write(data, act)

    def _write(self, data: bytes, act: Act) -> None:
        piece = max(1, len(data) // 16) if act.slow else len(data)
        for offset in range(0, len(data), piece or 1):
            end = offset + piece if act.cut is None else min(offset + piece, act.cut)
            self.wfile.write(data[offset:end])
            if act.cut is not None and end >= act.cut:
                break
            time.sleep(act.slow)
        if act.cut is not None or act.declare:
            self.close_connection = True

    def _refuse(self, status: int, code: str, message: str, retry_after: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if code:
            self.send_header("X-Error-Code", code)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("X-Error-Message", message)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _signature(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _start(header: str | None) -> int:
    found = re.match(r"bytes=(\d+)-", header or "")
    return int(found[1]) if found else 0


@contextmanager
def hub(files: Path, revision: str, kind: type[Hub] = Hub) -> Iterator[Hub]:
    """A running hub that serves the files of a directory."""
    server = kind(files, revision)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        with suppress(RuntimeError):
            thread.join()
