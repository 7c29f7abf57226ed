"""Decoders, Gemma 3 and tables of vectors against transformers and sentence-transformers, through both engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sekisho.arrays import pad
from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE, Contract, Rows, Tokens
from sekisho.convert.build import convert_directory
from sekisho.convert.checkpoint import Weights
from sekisho.convert.decisions import Choices
from sekisho.errors import ConversionFailed
from sekisho.runtime.onnx import OnnxRuntimeSession
from sekisho.runtime.openvino import OpenVinoSession
from tests.checkpoints_decoders import (
    TINY_DECODERS,
    TINY_STATICS,
    TinyDecoder,
    tiny_decoder,
    write_safetensors,
    write_tiny_decoder,
    write_tiny_static,
)
from tests.goldens.decoders import FOLDER, load_golden, texts, token_ids, words
from tests.goldens_io import cosines

Run = Callable[[list[list[int]]], Rows]

ENGINES = ("onnxruntime", "openvino")
DECODERS = tuple(spec.name for spec in TINY_DECODERS)
STATICS = tuple(spec.name for spec in TINY_STATICS)
BATCH = 8
YARN = tiny_decoder("tiny-llama-yarn").config["rope_scaling"]
MSCALE = tiny_decoder("tiny-qwen3-yarn-mscale").config["rope_parameters"]


@dataclass(frozen=True)
class Prepared:
    """A converted checkpoint."""

    source: Path
    directory: Path
    contract: Contract


Get = Callable[[str], Prepared]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Get:
    root, made = tmp_path_factory.mktemp("decoders"), dict[str, Prepared]()

    def get(name: str) -> Prepared:
        if name not in made:
            source, kind = write(name, root / "sources" / name)
            contract = convert_directory(source, root / name, Choices(kind=kind))
            made[name] = Prepared(source, root / name, contract)
        return made[name]

    return get


def write(name: str, directory: Path) -> tuple[Path, Any]:
    if name in STATICS:
        return write_tiny_static(next(spec for spec in TINY_STATICS if spec.name == name), directory), "embedding"
    return write_tiny_decoder(tiny_decoder(name), directory), tiny_decoder(name).kind


def session(engine: str, model: Prepared) -> Run:
    """Ids → the first output, padded at the end; no tokenizer takes part."""
    contract = model.contract
    loaded = (
        OnnxRuntimeSession(model.directory, contract.outputs, 1, 2)
        if engine == "onnxruntime"
        else OpenVinoSession(model.directory, contract.outputs, 1, 2, "fp32")
    )

    def run(batch: list[list[int]]) -> Rows:
        return loaded.run(0, pad([Tokens(own) for own in batch], contract.pad_id, contract.inputs))[0]

    return run


def in_batches(run: Run, ids: list[list[int]], size: int) -> Rows:
    return np.concatenate([run(ids[start : start + size]) for start in range(0, len(ids), size)])


def assert_near(rows: Rows, reference: Rows, *, vectors: bool) -> None:
    """float32 against float32: what is left is the order of additions."""
    if vectors:
        assert cosines(rows, reference).min() >= 0.99999
        np.testing.assert_allclose(rows, reference, rtol=0, atol=2e-5 * float(np.abs(reference).max()))
    else:
        np.testing.assert_allclose(rows, reference, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", DECODERS)
def test_padded_batches_and_single_texts_equal_the_reference(prepared: Get, name: str, engine: str) -> None:
    model, golden, spec = prepared(name), load_golden(name), tiny_decoder(name)
    reference = golden.outputs[:, 1:] if spec.answers else golden.outputs
    run, vectors = session(engine, model), spec.kind == "embedding"
    batched = in_batches(run, golden.ids, BATCH)
    assert_near(batched, reference, vectors=vectors)
    # Every fourth alone: each shape is another plan to make for OpenVINO.
    assert_near(in_batches(run, golden.ids[::4], 1), reference[::4], vectors=vectors)


@pytest.mark.parametrize("name", DECODERS)
def test_the_tokens_are_those_of_the_reference(prepared: Get, name: str) -> None:
    """And several times longer than any window."""
    model, golden = prepared(name), load_golden(name)
    limit = tiny_decoder(name).limit
    assert model.contract.max_tokens == limit
    assert token_ids(model.directory, limit, texts()) == golden.ids
    assert max(map(len, golden.ids)) == limit


@pytest.mark.parametrize("name", [spec.name for spec in TINY_DECODERS if spec.answers])
def test_the_sigmoid_of_the_answer_is_the_softmax_of_the_reference(prepared: Get, name: str) -> None:
    model, golden = prepared(name), load_golden(name)
    logits = in_batches(session("onnxruntime", model), golden.ids, BATCH).astype(np.float64)
    assert model.contract.outputs == ("logits",)
    assert model.contract.width == 1
    assert model.contract.origins["yes_no"] == "tokenizer.json"
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), golden.outputs[:, :1], rtol=1e-4, atol=1e-6)


def test_the_words_of_an_answer_can_be_chosen(prepared: Get, tmp_path: Path) -> None:
    name = "tiny-qwen3-answers"
    source, spec = prepared(name).source, tiny_decoder(name)
    yes, no = words(spec, source)
    contract = convert_directory(source, tmp_path / "made", Choices(kind="reranker", yes_no=(no, yes)))
    golden = load_golden(name)
    run = session("onnxruntime", Prepared(source, tmp_path / "made", contract))
    assert_near(-in_batches(run, golden.ids, BATCH), golden.outputs[:, 1:], vectors=False)
    with pytest.raises(ConversionFailed, match="917"):
        convert_directory(source, tmp_path / "other", Choices(kind="reranker", yes_no=(yes, 917)))


def test_an_answer_without_its_words_or_its_head_is_refused(tmp_path: Path) -> None:
    source = write_tiny_decoder(tiny_decoder("tiny-qwen3-answers"), tmp_path / "source")
    edit(source, tie_word_embeddings=False)
    with pytest.raises(ConversionFailed, match="lm_head"):
        convert_directory(source, tmp_path / "made", Choices(kind="reranker"))
    edit(source, tie_word_embeddings=True)
    (source / "tokenizer.json").write_text((source / "tokenizer.json").read_text("utf-8").replace('"yes"', '"ja"'))
    with pytest.raises(ConversionFailed, match=r"yes_no.*models\.yaml"):
        convert_directory(source, tmp_path / "made", Choices(kind="reranker"))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", STATICS)
def test_a_table_equals_the_reference(prepared: Get, name: str, engine: str) -> None:
    model, golden = prepared(name), load_golden(name)
    assert model.contract.family == "static"
    assert model.contract.pooling == "mean"
    assert model.contract.special_tokens is False
    assert model.contract.max_tokens == 8192
    assert model.contract.vocabulary == 907
    run = session(engine, model)
    assert_near(in_batches(run, golden.ids, BATCH), golden.outputs, vectors=True)
    assert_near(in_batches(run, golden.ids[::4], 1), golden.outputs[::4], vectors=True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", STATICS)
def test_a_text_of_no_token_is_a_zero_vector(prepared: Get, name: str, engine: str) -> None:
    rows = session(engine, prepared(name))([[], [5, 6], []])
    assert not rows[[0, 2]].any()
    assert rows[1].any()
    assert not session(engine, prepared(name))([[]]).any()


def test_the_longest_text_of_a_table_is_anyones_choice(prepared: Get, tmp_path: Path) -> None:
    source = prepared("tiny-static").source
    assert convert_directory(source, tmp_path / "made", Choices(max_tokens=100_000)).max_tokens == 100_000


def test_shards_give_the_same_bytes_as_one_file(prepared: Get, tmp_path: Path) -> None:
    model = prepared("tiny-mistral-mean")
    assert len(list(model.source.glob("model-*-of-00003.safetensors"))) == 3
    source = write_tiny_decoder(replace(tiny_decoder("tiny-mistral-mean"), shards=1), tmp_path / "source")
    assert (source / "model.safetensors").is_file()
    convert_directory(source, tmp_path / "made", Choices())
    for name in (GRAPH_FILE, WEIGHTS_FILE):
        assert (tmp_path / "made" / name).read_bytes() == (model.directory / name).read_bytes()


@pytest.mark.parametrize("name", DECODERS)
def test_every_weight_counts(name: str, tmp_path: Path) -> None:
    """A weight that is missing is named, and one that is unknown is."""
    spec = tiny_decoder(name)
    source = write_tiny_decoder(replace(spec, shards=1), tmp_path / "source")
    path = source / "model.safetensors"
    good = path.read_bytes()
    for stored in (f"{spec.stored}norm.weight", f"{spec.stored}layers.1.mlp.down_proj.weight"):
        renamed = stored[:-2] + "XX"
        path.write_bytes(good.replace(f'"{stored}"'.encode(), f'"{renamed}"'.encode()))
        with pytest.raises(ConversionFailed, match=stored.removeprefix(spec.stored)):
            convert_directory(source, tmp_path / "made", Choices(kind=spec.kind))


def edit(source: Path, **changes: Any) -> None:
    path = source / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


@pytest.mark.parametrize(
    ("name", "changes", "part"),
    [
        ("tiny-llama-last", {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, "dynamic.*length of a batch"),
        ("tiny-llama-last", {"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, "longrope.*of a batch"),
        ("tiny-qwen3-last", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e6}}, "dynamic"),
        ("tiny-qwen3-last", {"rope_scaling": {"type": "mrope", "mrope_section": [16]}}, "mrope.*supports default"),
        ("tiny-qwen3-last", {"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, "full_attention"),
        ("tiny-qwen3-last", {"rope_parameters": {"rope_theta": 1e6, "partial_rotary_factor": 0.5}}, "partial_rotary"),
        ("tiny-llama-last", {"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling has no 'factor'"),
        ("tiny-llama-last", {"rope_scaling": {"rope_type": "linear"}}, "rope_scaling has no 'factor'"),
        ("tiny-llama-last", {"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "no 'low_freq_factor'"),
        ("tiny-llama-last", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("tiny-llama-last", {"num_key_value_heads": 3}, "5 heads cannot share 3"),
        ("tiny-mistral-window", {"is_causal": False}, "max_tokens"),
        ("tiny-gemma-both-ways", {"layer_types": ["full_attention"]}, "layer_types"),
        ("tiny-gemma-both-ways", {"layer_types": ["chunked_attention"] * 4}, "chunked_attention"),
        ("tiny-gemma-both-ways", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}, "rope_scaling"),
    ],
)
def test_what_the_graph_would_not_do_is_refused(name: str, changes: dict[str, Any], part: str, tmp_path: Path) -> None:
    source = write_tiny_decoder(tiny_decoder(name), tmp_path / "source")
    edit(source, **changes)
    with pytest.raises(ConversionFailed, match=part):
        convert_directory(source, tmp_path / "made", Choices())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tiny-mistral-window", {"sliding_window": 6}),
        ("tiny-mistral-window", {"sliding_window": 4}),
        ("tiny-qwen2-window", {"max_window_layers": 2}),
        ("tiny-qwen3-window", {"sliding_window": 7}),
        ("tiny-qwen3-last", {"rope_theta": 500000.0}),
        ("tiny-llama-both-ways", {"is_causal": True}),
        ("tiny-llama-biases", {"rope_scaling": None}),
        ("tiny-llama-yarn", {"rope_scaling": None}),
        ("tiny-llama-yarn", {"rope_scaling": YARN | {"truncate": True}}),
        ("tiny-llama-yarn", {"rope_scaling": YARN | {"beta_slow": 1}}),
        ("tiny-llama-yarn", {"rope_scaling": YARN | {"beta_fast": 2}}),
        ("tiny-llama-yarn", {"rope_scaling": YARN | {"attention_factor": None}}),
        ("tiny-llama-yarn", {"rope_scaling": YARN | {"original_max_position_embeddings": None}}),
        ("tiny-qwen3-yarn", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
        ("tiny-qwen3-yarn-mscale", {"rope_parameters": MSCALE | {"mscale": 1.0}}),
        ("tiny-qwen3-yarn-mscale", {"rope_parameters": MSCALE | {"mscale_all_dim": 0}}),
        ("tiny-gemma-both-ways", {"sliding_window": 10}),
        ("tiny-gemma-both-ways", {"sliding_window": 7}),
        ("tiny-gemma-even-window", {"sliding_window": 10}),
        ("tiny-gemma-even-window", {"query_pre_attn_scalar": 8}),
        ("tiny-gemma-causal", {"sliding_window": 7}),
        ("tiny-gemma-causal", {"use_bidirectional_attention": True}),
    ],
)
def test_the_goldens_tell_a_wrong_value(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    """Each of these is a neighbour of the right one; a graph with it must not pass."""
    source = write_tiny_decoder(tiny_decoder(name), tmp_path / "source")
    edit(source, **changes)
    contract = convert_directory(source, tmp_path / "made", Choices())
    golden = load_golden(name)
    rows = in_batches(session("onnxruntime", Prepared(source, tmp_path / "made", contract)), golden.ids, BATCH)
    assert cosines(rows, golden.outputs).min() < 0.9999


def test_every_bfloat16_is_read_as_it_is(tmp_path: Path) -> None:
    halves = np.arange(0x10000, dtype=np.uint32)
    path = tmp_path / "model.safetensors"
    write_safetensors({"all": (halves << 16).view(np.float32).reshape(256, 256)}, path, "BF16")
    weights = Weights([path], lambda name: name)
    assert (weights.take("all", 256, 256).view(np.uint32).ravel() >> 16 == halves).all()
    assert (weights.take_rows("all", (255, 3), 256, 256).view(np.uint32)[1] >> 16 == np.arange(768, 1024)).all()


def test_goldens_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 1 << 20


def test_every_checkpoint_has_its_golden() -> None:
    assert {path.stem for path in FOLDER.glob("*.npz")} == {*DECODERS, *STATICS}


def test_specs_differ_in_their_seeds() -> None:
    specs: list[TinyDecoder] = list(TINY_DECODERS)
    assert len({spec.seed for spec in specs}) == len(specs)
