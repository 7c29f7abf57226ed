"""The path a client asked for → the one a route has, and the model that stood in it; pure, with a thin middleware.

Clients build paths by guessing: base URLs that end in the route itself, doubled versions, and, where a client has no
field for a model, the model in front of the route.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from sekisho.http.openapi import Operation

#: Set in a request's scope: the model that its path names, which goes before the one in its body; else None.
PATH_MODEL = "sekisho.path_model"

_VERSIONS = frozenset({"v1", "v2"})
_MODEL_PREFIX = "/m/"
#: As Azure's clients have it.
_DEPLOYMENTS = "/openai/deployments/"
_LONGEST_REPEATED = 2
#: No name and no route is nearly as long, and the search tries every slash.
_MOST_CHARS = 512


@dataclass(frozen=True)
class Known:
    """What the router has. fixed: whole paths; open: how those with a name in them begin."""

    fixed: frozenset[str]
    open: tuple[str, ...]

    @classmethod
    def of(cls, paths: Iterable[str]) -> Known:
        """From the paths of routes, `{name}` and all."""
        paths = list(paths)
        return cls(
            frozenset(path for path in paths if "{" not in path),
            tuple(path.partition("{")[0] for path in paths if "{" in path),
        )

    def has(self, path: str) -> bool:
        return path in self.fixed or any(path.startswith(begin) and len(path) > len(begin) for begin in self.open)


def resolve(path: str, known: Known) -> tuple[str, str | None]:
    """(the path of a route, the model its prefix names). A path that leads nowhere is given back as it is.

    `/m/BAAI/bge-m3/embed` → (`/embed`, `BAAI/bge-m3`): the model is as short as it can be with a route behind it.
    `/v1/v2/rerank` → `/v2/rerank`, `/v1/embeddings/embeddings` → `/v1/embeddings`.
    """
    if len(path) > _MOST_CHARS or known.has(path):
        return path, None
    for prefix in (_MODEL_PREFIX, _DEPLOYMENTS):
        if path.startswith(prefix):
            return _behind_model(path, len(prefix), known) or (path, None)
    return straighten(path, known) or path, None


def straighten(path: str, known: Known) -> str | None:
    """The route behind a path that says parts of itself twice; None where there is none."""
    if known.has(path):
        return path
    segments = path.split("/")[1:]
    if "" in segments[:-1] or not segments:
        return None
    while len(segments) > 1 and _VERSIONS.issuperset(segments[:2]):
        del segments[0]
    for number in range(_LONGEST_REPEATED + 1):
        if number and segments[-number:] != segments[-2 * number : -number]:
            continue
        candidate = "/" + "/".join(segments[: len(segments) - number])
        if known.has(candidate):
            return candidate
    return None


def _behind_model(path: str, begin: int, known: Known) -> tuple[str, str] | None:
    """`begin`: where the model begins. Alone it is `POST /`, where some clients post to the bare base URL."""
    whole = Known(known.fixed - {"/"}, ())
    end = path.find("/", begin + 1)
    while end > 0:
        route = straighten(path[end:], whole)
        if route is not None:
            return route, path[begin:end]
        end = path.find("/", end + 1)
    model = path[begin:].removesuffix("/")
    return ("/", model) if model and path.startswith(_MODEL_PREFIX) else None


class Paths:
    """ASGI middleware in front of the router, which it spares what needs none: a method and a path as a route has them.

    Through the router and its layers a request takes 40 µs more.
    """

    def __init__(self, app: ASGIApp, operations: Sequence[Operation]) -> None:
        self._app = app
        self._known = Known.of(path for operation in operations for path in operation.paths)
        self._endpoints = {
            (operation.method, path): operation.endpoint
            for operation in operations
            for path in operation.paths
            if path in self._known.fixed
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] not in self._known.fixed:
            self._rewrite(scope)
        endpoint = self._endpoints.get((scope["method"], scope["path"]))
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        scope["endpoint"] = endpoint
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    def _rewrite(self, scope: Scope) -> None:
        path, model = resolve(scope["path"], self._known)
        if path != "/" or scope["method"] == "POST":
            scope["path"] = path
            scope[PATH_MODEL] = model
