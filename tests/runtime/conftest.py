"""Prepared models to load: the real MiniLM and a tiny one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.assemble import open_catalog
from sekisho.catalog.prepare import Prepared
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.settings import Settings
from tests.checkpoints import write_tiny_bert
from tests.conftest import REPOSITORY
from tests.goldens_io import MINILM, TINY_NAMES, tiny_spec


@pytest.fixture(scope="session")
def minilm(minilm_home: Path) -> Prepared:
    catalog = open_catalog(Settings(models=REPOSITORY / "models.yaml", home=minilm_home))
    prepared = catalog.preparer.find(catalog.registry.find(MINILM))
    assert prepared is not None
    return prepared


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    """By name: the three tiny BERTs."""
    root = tmp_path_factory.mktemp("tiny")
    made = {}
    for name in TINY_NAMES:
        source = write_tiny_bert(tiny_spec(name), root / "sources" / name)
        made[name] = Prepared(root / name, convert_directory(source, root / name, Choices()), 0.0)
    return made
