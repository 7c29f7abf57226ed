"""Real models, tiny ones, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.assemble import open_catalog
from sekisho.runtime.load import load_model
from sekisho.runtime.model import LocalModel
from sekisho.runtime.select import Choice
from sekisho.settings import Settings


@pytest.fixture(scope="session")
def tiny_model(minilm_home: Path, tiny_registry: Path) -> LocalModel:
    """tiny-bert-mean on ONNX Runtime with two lanes."""
    catalog = open_catalog(Settings(models=tiny_registry, home=minilm_home))
    prepared = catalog.preparer.prepare(catalog.registry.find("tiny-bert-mean"))
    choice = Choice("onnxruntime", "fp32", lanes=2, threads=1, reason="a test")
    return load_model(prepared.directory, prepared.contract, choice)
