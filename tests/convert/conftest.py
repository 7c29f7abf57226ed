"""Checkpoints to convert, and the four converted once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from sekisho.catalog.artifacts import Artifacts
from sekisho.catalog.lockfile import load_lock
from sekisho.catalog.prepare import Preparer
from sekisho.catalog.registry import load_registry
from sekisho.contract import Contract
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from tests.checkpoints import TINY_BERTS, write_tiny_bert
from tests.conftest import REPOSITORY
from tests.goldens_io import MINILM, tiny_spec

Converted = dict[str, tuple[Path, Contract]]


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory, minilm_home: Path) -> Converted:
    """Name → prepared directory and contract, of the real MiniLM and the tiny BERTs."""
    root = tmp_path_factory.mktemp("converted")
    models: Converted = {}
    for spec in TINY_BERTS:
        source = write_tiny_bert(spec, root / "sources" / spec.name)
        models[spec.name] = (root / spec.name, convert_directory(source, root / spec.name, Choices()))
    registry = load_registry(REPOSITORY / "models.yaml")
    preparer = Preparer(minilm_home, Artifacts(registry.directory, offline=True), load_lock(REPOSITORY / "models.lock"))
    minilm = preparer.find(registry.find(MINILM))
    assert minilm is not None
    models[MINILM] = (minilm.directory, minilm.contract)
    return models


@dataclass
class Source:
    """A checkpoint directory that a test changes before it is converted."""

    directory: Path

    def edit(self, name: str, **changes: Any) -> None:
        """Set keys of a JSON file; None removes one."""
        path = self.directory / name
        values = json.loads(path.read_text("utf-8")) | changes
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}), "utf-8")

    def write(self, name: str, text: str) -> None:
        (self.directory / name).parent.mkdir(exist_ok=True)
        (self.directory / name).write_text(text, "utf-8")

    def remove(self, name: str) -> None:
        (self.directory / name).unlink()

    @property
    def weights(self) -> dict[str, NDArray[Any]]:
        return load_file(self.directory / "model.safetensors")

    def save(self, weights: dict[str, NDArray[Any]]) -> None:
        stored = {name: np.ascontiguousarray(tensor) for name, tensor in weights.items()}
        save_file(stored, self.directory / "model.safetensors")

    def convert(self, **choices: Any) -> tuple[Path, Contract]:
        target = self.directory.with_suffix(".prepared")
        return target, convert_directory(self.directory, target, Choices(**choices))


MakeSource = Callable[[str], Source]


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """Name of a tiny checkpoint → a fresh copy of it."""
    return lambda name: Source(write_tiny_bert(tiny_spec(name), tmp_path / name))


@pytest.fixture
def source(make_source: MakeSource) -> Source:
    return make_source("tiny-bert-mean")
