"""A Sekisho in this process in front of services on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from starlette.applications import Starlette

from sekisho.assemble import Parts, assemble
from sekisho.contract import Inference, Passage
from sekisho.engine.cached import uncached
from sekisho.engine.remote import RemoteEngine
from sekisho.http.app import create_app
from sekisho.settings import Settings
from tests.upstream.wire import MODEL, Rows


def entry(api: str, *urls: str, kind: str = "embedding", more: str = "", **upstream: Any) -> str:
    """A block of models.yaml; `more`: further keys of the model."""
    address = urls[0] if len(urls) == 1 else f"[{', '.join(urls)}]"
    keys = {"api": api, "base_url": address, "model": MODEL, "key_env": "SERVICE_KEY"} | upstream
    shown = ", ".join(f"{key}: {value}" for key, value in keys.items() if value is not None)
    return f"  - {{name: far, kind: {kind}, upstream: {{{shown}}}{', ' + more if more else ''}}}\n"


class Gateway:
    """The application without a socket, on an event loop that lives as long as this does."""

    def __init__(self, directory: Path, *entries: str, **settings: Any) -> None:
        """No answer is kept, unless a setting says so."""
        path = directory / "models.yaml"
        path.write_text(f"version: 1\ndefaults: {{}}\nmodels:\n{''.join(entries)}", "utf-8")
        values: dict[str, Any] = {"models": path, "home": directory / "home", "offline": True, "cache_mib": 0}
        self.parts: Parts = assemble(Settings(**values | settings))
        self.runner = asyncio.Runner()
        transport = httpx.ASGITransport(_application(self.parts))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://in-process")

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.runner.run(self.client.post(path, json=body))

    def get(self, path: str) -> httpx.Response:
        return self.runner.run(self.client.get(path))

    def embed(self, *texts: str, **rest: Any) -> httpx.Response:
        return self.post("/v1/embeddings", model="far", input=list(texts), **rest)

    def embed_all(self, count: int, *texts: str) -> list[httpx.Response]:
        """So many requests at once."""

        async def together() -> list[httpx.Response]:
            body = {"model": "far", "input": list(texts)}
            posts = (self.client.post("/v1/embeddings", json=body) for _ in range(count))
            return await asyncio.gather(*posts)

        return self.runner.run(together())

    def scores(self, query: str, *documents: str, **rest: Any) -> Inference:
        """What the engine gives for pairs."""

        async def infer() -> Inference:
            async with self.parts.pool.use(self.parts.catalog.registry.find("far")) as engine:
                return await engine.infer([Passage(query, pair=text, **rest) for text in documents], "end")

        return self.runner.run(infer())

    def later(self, seconds: float) -> None:
        """So much time passes for the breakers, and none for anybody else."""
        found = self.parts.pool.engine(self.parts.catalog.registry.find("far"))
        engine = uncached(found) if found is not None else None
        assert isinstance(engine, RemoteEngine)
        caller = engine._caller
        before = caller._clock
        caller._clock = lambda: before() + seconds

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.run(self.parts.close())
        self.runner.close()


_applications: list[Starlette] = []


def _application(parts: Parts) -> Starlette:
    """One for all gateways, one after the other: describing its routes takes longer than a test."""
    if not _applications:
        _applications.append(create_app(parts))
    _applications[0].state.parts = parts
    return _applications[0]


def rows_of(response: httpx.Response) -> Rows:
    """The vectors of a successful answer."""
    assert response.status_code == 200, response.text[:500]
    data = response.json()["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    return np.array([item["embedding"] for item in data], np.float32)
