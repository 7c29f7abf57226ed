"""A model whose files lie in a directory or in an installed distribution, and its catalogue."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sekisho.assemble import Catalog, open_catalog
from sekisho.catalog.lockfile import Lock, LockedModel, dump_lock, lock_path
from sekisho.settings import Settings
from tests.checkpoints import write_tiny_bert
from tests.conftest import WriteRegistry
from tests.goldens_io import tiny_spec

REVISION = "0123456789abcdef0123456789abcdef01234567"

OpenCatalog = Callable[..., Catalog]
Install = Callable[[str, Path], Path]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_tiny_bert(tiny_spec("tiny-bert-max"), tmp_path / "checkpoint")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Distribution name, directory → the distribution is installed and carries a copy of it under `model`."""

    def make(name: str, files: Path) -> Path:
        site = tmp_path / f"site-{name}"
        information = site / f"{name.replace('-', '_')}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        shutil.copytree(files, site / "model")
        monkeypatch.syspath_prepend(str(site))
        return site / "model"

    return make


@pytest.fixture
def catalog(home: Path, write_registry: WriteRegistry) -> OpenCatalog:
    """The `source` of a model called `m` → the catalogue over it."""

    def make(source: str, more: str = "", *, offline: bool = True) -> Catalog:
        text = f"version: 1\nmodels:\n  - name: m\n    source: {source}\n{more}"
        return open_catalog(Settings(models=write_registry(text), home=home, offline=offline))

    return make


def lock_as_it_is(opened: Catalog, measured: Catalog | None = None, revision: str | None = None) -> None:
    """Write models.lock with the files as `measured` (default: the model's own source) has them now."""
    held = measured or opened
    files = held.artifacts.measure(held.registry.find("m"))
    lock = Lock(models={"m": LockedModel(revision=revision, files=files)})
    lock_path(opened.path).write_text(dump_lock(lock), "utf-8")
