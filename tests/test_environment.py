"""The promise of the package: no PyTorch, neither installed nor imported."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

FORBIDDEN = ("torch", "transformers", "sentence_transformers")
SOURCES = sorted((REPOSITORY / "src").rglob("*.py"))


@pytest.mark.parametrize("name", FORBIDDEN)
def test_is_not_installed(name: str) -> None:
    assert importlib.util.find_spec(name) is None
    installed = {distribution.name.lower().replace("-", "_") for distribution in importlib.metadata.distributions()}
    assert name not in installed


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY / "src" / "sekisho")))
def test_source_imports_none_of_it(path: Path) -> None:
    """Wherever the import stands: also inside a function."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            imported.add(node.module.split(".")[0])
    assert not imported & set(FORBIDDEN)


def test_no_requirement_asks_for_it() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for path in REPOSITORY.glob("requirements*.lock"):
        asked += path.read_text("utf-8").splitlines()
    names = {one.split(">")[0].split("=")[0].split("[")[0].strip().lower().replace("-", "_") for one in asked}
    assert "onnxruntime" in names, "the names are not read as they are written"
    assert not names & set(FORBIDDEN)


def test_a_whole_conversion_loads_none_of_it_and_a_prepared_model_needs_no_converter(
    minilm_home: Path, home: Path, tiny_registry: Path
) -> None:
    """In a process of its own: what is in `sys.modules` after serving a prepared model, and after converting one."""
    program = """
import asyncio, json, sys
from sekisho.assemble import assemble
from sekisho.service.embed import EmbedRequest
from sekisho.settings import Settings

async def embed(name, home):
    parts = assemble(Settings(home=home))
    await parts.embed.embed(EmbedRequest(["a"], model=name))
    await parts.pool.close()
    return sorted({name.split(".")[0] for name in sys.modules})

print(json.dumps([asyncio.run(embed(*pair)) for pair in zip(("all-minilm-l6-v2", "tiny-bert-max"), sys.argv[1:])]))
"""
    command = [sys.executable, "-c", program, str(minilm_home), str(home)]
    environment = {"SEKISHO_MODELS": str(tiny_registry), "SEKISHO_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    served, converted = (set(modules) for modules in json.loads(done.stdout.splitlines()[-1]))
    assert not (served | converted) & set(FORBIDDEN)
    assert not served & {"onnx_ir", "onnxscript", "safetensors", "ml_dtypes"}, "a ready model starts without these"
    assert "onnx_ir" in converted
