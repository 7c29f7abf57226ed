"""Checkpoints as they come from others: number formats, old names, and everything that must be refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sekisho.contract import Rows, Tokens
from sekisho.convert.checkpoint import Checkpoint, Weights
from sekisho.errors import ConversionFailed
from sekisho.runtime.load import load_model
from tests.convert.conftest import Source
from tests.engines import ONNX_FP32

TOKENS = [Tokens([2, 40, 41, 42, 3]), Tokens([2, 50, 3])]


def rows_of(source: Source) -> Rows:
    directory, contract = source.convert()
    return load_model(directory, contract, ONNX_FP32).run(0, TOKENS)[0]


@pytest.fixture
def expected(tmp_path: Path, source: Source) -> Rows:
    from tests.checkpoints import write_tiny_bert
    from tests.goldens_io import tiny_spec

    return rows_of(Source(write_tiny_bert(tiny_spec("tiny-bert-mean"), tmp_path / "untouched")))


def test_the_bert_prefix_is_dropped(source: Source, expected: Rows) -> None:
    source.save({f"bert.{name}": tensor for name, tensor in source.weights.items()})
    np.testing.assert_array_equal(rows_of(source), expected)


def test_old_names_of_layer_norm_are_read(source: Source, expected: Rows) -> None:
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in source.weights.items()
    }
    assert any(name.endswith("gamma") for name in renamed)
    source.save(renamed)
    np.testing.assert_array_equal(rows_of(source), expected)


def test_heads_and_buffers_are_left_aside(source: Source, expected: Rows) -> None:
    extra: dict[str, NDArray[Any]] = {
        "cls.predictions.bias": np.zeros(7, np.float32),
        "bert.embeddings.position_ids": np.arange(512, dtype=np.int64)[None],
    }
    source.save(source.weights | extra)
    np.testing.assert_array_equal(rows_of(source), expected)


def test_bfloat16_weights_are_widened_exactly(source: Source) -> None:
    halves = {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in source.weights.items()}
    source.save({name: tensor.astype(np.float32) for name, tensor in halves.items()})
    widened = rows_of(source)
    save_file(halves, source.directory / "model.safetensors")
    directory, contract = source.directory.with_suffix(".prepared"), None
    directory.rename(directory.with_suffix(".first"))
    directory, contract = source.convert()
    np.testing.assert_array_equal(load_model(directory, contract, ONNX_FP32).run(0, TOKENS)[0], widened)


def test_bfloat16_is_read_bit_for_bit(tmp_path: Path) -> None:
    values = np.array([[1.0, -2.5, 3.0e38], [np.inf, 1e-40, 0.1]], np.float32).astype(ml_dtypes.bfloat16)
    other = np.arange(5, dtype=np.float32)
    save_file({"a": other, "b": values, "c": other}, tmp_path / "model.safetensors")
    weights = Weights([tmp_path / "model.safetensors"], lambda name: name)
    np.testing.assert_array_equal(weights.take("b", 2, 3), values.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_become_float32(source: Source, expected: Rows, dtype: str) -> None:
    source.save({name: tensor.astype(dtype) for name, tensor in source.weights.items()})
    rows = rows_of(source)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, atol=0.05 if dtype == "float16" else 1e-7)


def refused(source: Source, **choices: object) -> str:
    with pytest.raises(ConversionFailed) as caught:
        source.convert(**choices)
    assert not source.directory.with_suffix(".prepared").exists()
    assert [path.name for path in source.directory.parent.iterdir() if path.name.startswith(".")] == []
    return caught.value.message


def test_a_leftover_weight_is_named(source: Source) -> None:
    source.save(source.weights | {"encoder.layer.0.adapter.weight": np.zeros((2, 2), np.float32)})
    assert "encoder.layer.0.adapter.weight" in refused(source)


def test_many_leftover_weights_are_counted(source: Source) -> None:
    """A config with fewer layers than the weights have."""
    source.edit("config.json", num_hidden_layers=2)
    message = refused(source)
    assert "encoder.layer.2.attention.output.LayerNorm.bias" in message
    assert "and 11 more" in message


@pytest.mark.parametrize(
    "name",
    ["embeddings.word_embeddings.weight", "encoder.layer.1.intermediate.dense.bias", "embeddings.LayerNorm.bias"],
)
def test_a_missing_weight_is_named(source: Source, name: str) -> None:
    weights = source.weights
    del weights[name]
    source.save(weights)
    assert repr(name) in refused(source)


@pytest.mark.parametrize(
    ("key", "value", "weight"),
    [
        ("vocab_size", 1020, "embeddings.word_embeddings.weight"),
        ("max_position_embeddings", 511, "embeddings.position_embeddings.weight"),
        ("type_vocab_size", 1, "embeddings.token_type_embeddings.weight"),
        ("intermediate_size", 40, "encoder.layer.0.intermediate.dense.weight"),
        ("hidden_size", 45, "embeddings.word_embeddings.weight"),
    ],
)
def test_a_weight_of_another_shape_is_named_with_both_shapes(source: Source, key: str, value: int, weight: str) -> None:
    source.edit("config.json", **{key: value})
    message = refused(source)
    assert repr(weight) in message
    assert str(value) in message
    assert str(source.weights[weight].shape) in message


def test_a_transposed_weight_is_refused(source: Source) -> None:
    name = "encoder.layer.0.intermediate.dense.weight"
    source.save(source.weights | {name: source.weights[name].T})
    assert "shape (40, 72)" in refused(source)


def test_a_weight_of_integers_is_refused(source: Source) -> None:
    name = "encoder.layer.0.output.dense.bias"
    source.save(source.weights | {name: np.zeros(40, np.int8)})
    message = refused(source)
    assert name in message
    assert "I8" in message


def test_a_weight_that_two_names_claim_is_refused(source: Source) -> None:
    """Both become `embeddings.LayerNorm.bias`: which of them is the model's?"""
    source.save(source.weights | {"bert.embeddings.LayerNorm.beta": np.zeros(40, np.float32)})
    message = refused(source)
    assert "'embeddings.LayerNorm.bias'" in message
    assert "'bert.embeddings.LayerNorm.beta'" in message


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"hidden_act": "mish"}, ["'mish'", "gelu_new"]),
        ({"model_type": "t5"}, ["'t5'", "bert"]),
        ({"model_type": None}, ["model_type", "family"]),
        ({"position_embedding_type": "relative_key"}, ["position_embedding_type", "'relative_key'", "'absolute'"]),
        ({"is_decoder": True}, ["is_decoder"]),
        ({"hidden_size": None}, ["'hidden_size'"]),
        ({"hidden_size": "40"}, ["'hidden_size'", "'40'", "int"]),
        ({"num_hidden_layers": True}, ["'num_hidden_layers'", "True"]),
        ({"num_attention_heads": 7}, ["40", "7", "num_attention_heads"]),
        ({"num_attention_heads": 0}, ["num_attention_heads 0"]),
        ({"layer_norm_eps": "tiny"}, ["'layer_norm_eps'", "float"]),
        ({"pad_token_id": -1.5}, ["'pad_token_id'"]),
    ],
)
def test_a_config_that_asks_for_something_else_is_refused(
    source: Source, changes: dict[str, object], parts: list[str]
) -> None:
    source.edit("config.json", **changes)
    message = refused(source)
    for part in parts:
        assert part in message


def test_an_absent_epsilon_and_pad_id_take_the_families_own(source: Source, expected: Rows) -> None:
    source.edit("config.json", layer_norm_eps=None, pad_token_id=None, hidden_act=None)
    np.testing.assert_array_equal(rows_of(source), expected)


def test_a_whole_number_as_epsilon_is_a_number(source: Source) -> None:
    source.edit("config.json", layer_norm_eps=1)
    assert np.isfinite(rows_of(source)).all()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(source: Source, name: str) -> None:
    source.remove(name)
    assert name in refused(source)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("modules.json", "{"),
        ("modules.json", "[1]"),
        ("modules.json", '[{"type": "x"}]'),
        ("1_Pooling/config.json", "nonsense"),
        ("1_Pooling/config.json", "[]"),
        ("sentence_bert_config.json", "null"),
        ("sentence_bert_config.json", '{"max_seq_length": "long"}'),
        ("sentence_bert_config.json", '{"max_seq_length": -3}'),
        ("model.safetensors", "not tensors"),
    ],
)
def test_a_broken_file_is_named(source: Source, name: str, text: str) -> None:
    source.write(name, text)
    assert Path(name).name in refused(source)


def test_truncated_weights_are_refused(source: Source) -> None:
    path = source.directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "model.safetensors" in refused(source)


def test_a_pickle_is_not_read(source: Source) -> None:
    """`pytorch_model.bin` beside no safetensors file."""
    source.remove("model.safetensors")
    source.write("pytorch_model.bin", "cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    assert "model.safetensors is missing" in refused(source)


def test_a_directory_without_sentence_transformers_files_opens_bare(source: Source) -> None:
    source.remove("modules.json")
    source.remove("sentence_bert_config.json")
    checkpoint = Checkpoint.open(source.directory)
    assert checkpoint.modules == ()
    assert checkpoint.max_length is None
    assert checkpoint.module("Pooling") is None


def test_weights_know_what_was_taken(source: Source) -> None:
    weights = Weights([source.directory / "model.safetensors"], lambda name: None if "pooler" in name else name)
    weights.take("embeddings.LayerNorm.bias", 40)
    left = weights.left_over()
    assert "embeddings.LayerNorm.bias" not in left
    assert not any("pooler" in name for name in left)
    assert len(left) == len(source.weights) - 3


def test_the_config_is_what_json_says(source: Source) -> None:
    stored = json.loads((source.directory / "config.json").read_text("utf-8"))
    assert dict(Checkpoint.open(source.directory).config) == stored


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "..", "a/b", "a\\b"])
def test_a_module_outside_the_checkpoint_is_refused(source: Source, path: str) -> None:
    source.write("modules.json", json.dumps([{"type": "sentence_transformers.models.Transformer", "path": path}]))
    assert "modules.json" in refused(source)


def test_a_transformer_in_a_folder_of_its_own_is_found(source: Source, expected: Rows) -> None:
    """Older sentence-transformers wrote `0_Transformer`."""
    modules = json.loads((source.directory / "modules.json").read_text("utf-8"))
    modules[0]["path"] = "0_Transformer"
    source.write("modules.json", json.dumps(modules))
    (source.directory / "0_Transformer").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"):
        (source.directory / name).rename(source.directory / "0_Transformer" / name)
    np.testing.assert_array_equal(rows_of(source), expected)
