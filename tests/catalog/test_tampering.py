"""Every kind of file a model is made of, changed in every way after it was locked: refused, and nothing is prepared."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sekisho.errors import ArtifactRefused
from tests.catalog.conftest import OpenCatalog, lock_as_it_is
from tests.checkpoints import TinyBert, write_tiny_bert
from tests.exports import CONSTANT_FILE, Export, quantize, write_export
from tests.goldens_io import tiny_spec

MODEL = tiny_spec("tiny-bert-max")
#: The same shapes, so that a swapped file would load; every file differs.
OTHER = replace(MODEL, seed=99, eps=1e-3, pooling="mean", normalize=False, max_seq_length=60)
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
DENSE = "2_Dense"

KINDS = {
    "config": "config.json",
    "shard": SHARDS[1],
    "index": INDEX,
    "tokenizer": "tokenizer.json",
    "modules": "modules.json",
    "length": "sentence_bert_config.json",
    "pooling config": "1_Pooling/config.json",
    "dense config": f"{DENSE}/config.json",
    "dense weights": f"{DENSE}/model.safetensors",
}


def write_dense(spec: TinyBert, root: Path) -> None:
    """A Dense module before the normalisation, in place of which it stands."""
    shutil.rmtree(root / "2_Normalize", ignore_errors=True)
    (root / DENSE).mkdir()
    draw = np.random.default_rng(spec.seed)
    weights = {"linear.weight": draw.random((8, spec.hidden)), "linear.bias": draw.random(8)}
    save_file({name: value.astype(np.float32) for name, value in weights.items()}, root / DENSE / "model.safetensors")
    activation = "Tanh" if spec.normalize else "ReLU"
    config = {
        "in_features": spec.hidden, "out_features": 8, "bias": True,
        "activation_function": f"torch.nn.modules.activation.{activation}",
    }  # fmt: skip
    (root / DENSE / "config.json").write_text(json.dumps(config))
    kinds = [
        ("", "Transformer"),
        ("1_Pooling", "Pooling"),
        (DENSE, "Dense"),
        *([("3_N", "Normalize")] * spec.normalize),
    ]
    rows = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    (root / "modules.json").write_text(json.dumps(rows))


def shard(root: Path) -> None:
    """The weights in two files and an index."""
    tensors = load_file(root / "model.safetensors")
    (root / "model.safetensors").unlink()
    halves = [dict(list(tensors.items())[half::2]) for half in (0, 1)]
    for name, half in zip(SHARDS, halves, strict=True):
        save_file(half, root / name)
    weight_map = {tensor: name for name, half in zip(SHARDS, halves, strict=True) for tensor in half}
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    (root / INDEX).write_text(json.dumps(index))


def write(spec: TinyBert, root: Path) -> Path:
    write_tiny_bert(spec, root)
    write_dense(spec, root)
    shard(root)
    return root


def flip(path: Path, _other: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(data)


def truncate(path: Path, _other: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def swap(path: Path, other: Path) -> None:
    assert path.read_bytes() != other.read_bytes()
    shutil.copyfile(other, path)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write(OTHER, tmp_path_factory.mktemp("other"))
    (root / INDEX).write_text((root / INDEX).read_text() + "\n")  # its names are the same ones
    tokenizer = (root / "tokenizer.json").read_text()
    (root / "tokenizer.json").write_text(tokenizer.replace('"lowercase": true', '"lowercase": false'))
    return root


@pytest.mark.parametrize("way", [flip, truncate, swap], ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_a_tampered_file_is_refused(
    catalog: OpenCatalog, tmp_path: Path, home: Path, other: Path, kind: str, way: Callable[[Path, Path], None]
) -> None:
    name = KINDS[kind]
    root = write(MODEL, tmp_path / "checkpoint")
    lock_as_it_is(catalog("{path: checkpoint}"))
    way(root / name, other / name)
    opened = catalog("{path: checkpoint}")
    with pytest.raises(ArtifactRefused, match="was refused") as caught:
        opened.preparer.prepare(opened.registry.find("m"))
    assert caught.value.message.startswith(f"{name} of the model 'm'")
    assert [path.name for path in (home / "models" / "m").iterdir()] == [".lock"]


@pytest.mark.parametrize("way", [flip, truncate, swap], ids=lambda way: way.__name__)
def test_tampered_weights_in_one_file_are_refused(
    catalog: OpenCatalog, tmp_path: Path, way: Callable[[Path, Path], None]
) -> None:
    root = write_tiny_bert(MODEL, tmp_path / "checkpoint")
    write_tiny_bert(OTHER, tmp_path / "other")
    lock_as_it_is(catalog("{path: checkpoint}"))
    way(root / "model.safetensors", tmp_path / "other" / "model.safetensors")
    opened = catalog("{path: checkpoint}")
    with pytest.raises(ArtifactRefused, match=r"^model\.safetensors of the model 'm' was refused"):
        opened.preparer.prepare(opened.registry.find("m"))


def test_untampered_it_is_prepared(catalog: OpenCatalog, tmp_path: Path) -> None:
    write(MODEL, tmp_path / "checkpoint")
    lock_as_it_is(catalog("{path: checkpoint}"))
    opened = catalog("{path: checkpoint}")
    assert set(opened.lock.models["m"].files) == {*KINDS.values(), SHARDS[0]}
    assert opened.preparer.prepare(opened.registry.find("m")).contract.width == 8


GRAPHS = {
    "graph": "onnx/model.onnx",
    "graph's data": "onnx/model.onnx_data",
    "graph's constant": f"onnx/{CONSTANT_FILE}",
    "variant": "onnx/model_qint8.onnx",
}


def write_graphs(spec: TinyBert, root: Path) -> Path:
    """A ready-made graph with its data and a constant beside it, and a quantised one."""
    write_tiny_bert(spec, root)
    plain = write_export(spec, root / "plain.onnx", Export(opset=14))
    (root / "onnx").mkdir()
    quantize(plain, root / GRAPHS["variant"])
    plain.unlink()
    write_export(spec, root / GRAPHS["graph"], Export(constant_outside=True), data="model.onnx_data")
    # The positions of both are the same, so the other one's are written wrong.
    if spec is OTHER:
        constant = root / GRAPHS["graph's constant"]
        constant.write_bytes(constant.read_bytes()[::-1])
    return root


@pytest.mark.parametrize("way", [flip, truncate, swap], ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", GRAPHS)
def test_a_tampered_graph_is_refused(
    catalog: OpenCatalog, tmp_path: Path, home: Path, kind: str, way: Callable[[Path, Path], None]
) -> None:
    name = GRAPHS[kind]
    root, other = write_graphs(MODEL, tmp_path / "checkpoint"), write_graphs(OTHER, tmp_path / "other")
    more = f"    onnx: {GRAPHS['variant'] if kind == 'variant' else GRAPHS['graph']}\n"
    lock_as_it_is(catalog("{path: checkpoint}", more))
    opened = catalog("{path: checkpoint}", more)
    assert name in opened.lock.models["m"].files
    assert opened.preparer.prepare(opened.registry.find("m")).contract.graph is not None
    shutil.rmtree(home / "models")
    way(root / name, other / name)
    with pytest.raises(ArtifactRefused, match="was refused") as caught:
        opened.preparer.prepare(opened.registry.find("m"))
    assert caught.value.message.startswith(f"{name} of the model 'm'")
    assert [path.name for path in (home / "models" / "m").iterdir()] == [".lock"]
