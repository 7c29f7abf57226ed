"""Graphs against a NumPy reference: poolings, activations, norms, padding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest

from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE, Pooling, Tokens
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.runtime.load import load_model
from sekisho.runtime.select import Choice
from tests.checkpoints import TinyBert, tiny_bert_weights, write_tiny_bert
from tests.convert.conftest import Converted, Source
from tests.convert.numpy_bert import ACTIVATIONS, hidden_states, pooled
from tests.engines import FP32, ONNX_FP32
from tests.goldens_io import MINILM, tiny_spec

SMALL = replace(tiny_spec("tiny-bert-mean"), name="small", layers=2, normalize=False, positions=40)
LENGTHS = (2, 17, 40, 3, 9)


def batch(spec: TinyBert) -> list[Tokens]:
    draw = np.random.default_rng(3)
    return [Tokens(draw.integers(0, spec.vocab, length).tolist()) for length in LENGTHS]


def reference(spec: TinyBert, tokens: list[Tokens], how: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    weights = tiny_bert_weights(spec)
    return np.stack([pooled(hidden_states(spec, weights, np.array(one.ids)), how) for one in tokens])


@FP32
@pytest.mark.parametrize("pooling", [how for how in get_args(Pooling) if how != "latent"])
def test_pooling_over_rows_of_different_lengths(tmp_path: Path, choice: Choice, pooling: Pooling) -> None:
    source = write_tiny_bert(SMALL, tmp_path / "source")
    contract = convert_directory(source, tmp_path / "made", Choices(pooling=pooling))
    tokens = batch(SMALL)
    (rows,) = load_model(tmp_path / "made", contract, choice).run(0, tokens)
    assert contract.pooling == pooling
    assert contract.origins["pooling"] == "models.yaml"
    np.testing.assert_allclose(rows, reference(SMALL, tokens, pooling), atol=2e-5)


@FP32
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(tmp_path: Path, choice: Choice, name: str) -> None:
    spec = replace(SMALL, layers=1, hidden_act=name)
    source = write_tiny_bert(spec, tmp_path / "source")
    contract = convert_directory(source, tmp_path / "made", Choices())
    tokens = batch(spec)
    (rows,) = load_model(tmp_path / "made", contract, choice).run(0, tokens)
    np.testing.assert_allclose(rows, reference(spec, tokens, "mean"), atol=2e-5)


def test_exact_and_approximate_gelu_differ_by_more_than_the_tolerance() -> None:
    """Otherwise the test above could not tell them apart."""
    tokens = batch(SMALL)
    exact, approximate = (
        reference(replace(SMALL, layers=1, hidden_act=name), tokens, "mean") for name in ("gelu", "gelu_new")
    )
    assert np.abs(exact - approximate).max() > 1e-4


@FP32
def test_rows_times_norm_are_the_plain_vectors(tmp_path: Path, choice: Choice) -> None:
    source = write_tiny_bert(SMALL, tmp_path / "source")
    contract = convert_directory(source, tmp_path / "made", Choices(normalize=True))
    tokens = batch(SMALL)
    rows, norms = load_model(tmp_path / "made", contract, choice).run(0, tokens)
    plain = reference(SMALL, tokens, "mean")
    np.testing.assert_allclose(norms[:, 0], np.linalg.norm(plain, axis=1), rtol=1e-5)
    np.testing.assert_allclose(rows * norms, plain, atol=2e-5)


@FP32
def test_a_zero_vector_stays_zero_when_normalised(source: Source, choice: Choice) -> None:
    weights = source.weights
    last = "encoder.layer.2.output.LayerNorm"
    source.save(weights | {f"{last}.{part}": weights[f"{last}.{part}"] * 0 for part in ("weight", "bias")})
    directory, contract = source.convert()
    rows, norms = load_model(directory, contract, choice).run(0, [Tokens([2, 3])])
    assert not rows.any()
    assert np.isfinite(norms).all()


@FP32
def test_extreme_scores_do_not_reach_padding(tmp_path: Path, choice: Choice) -> None:
    """Attention scores a thousand times larger than usual must still lose against the mask."""
    spec = replace(SMALL, layers=1)
    write_tiny_bert(spec, tmp_path / "source")
    source = Source(tmp_path / "source")
    weights = source.weights
    query = "encoder.layer.0.attention.self.query"
    source.save(weights | {f"{query}.{part}": weights[f"{query}.{part}"] * 1000 for part in ("weight", "bias")})
    directory, contract = source.convert()
    model = load_model(directory, contract, choice)
    short, long = Tokens([2, 9, 3]), Tokens([2, *range(30, 60), 3])
    np.testing.assert_allclose(model.run(0, [short, long])[0][0], model.run(0, [short])[0][0], atol=2e-5)


def test_the_graph_is_valid_onnx_with_its_weights_beside_it(source: Source) -> None:
    directory, contract = source.convert()
    onnx.checker.check_model(str(directory / GRAPH_FILE), full_check=True)
    graph = onnx.load(directory / GRAPH_FILE, load_external_data=False).graph
    assert tuple(value.name for value in graph.input) == contract.inputs
    assert contract.inputs == ("input_ids", "attention_mask", "places", "slots")
    assert contract.packed
    assert tuple(value.name for value in graph.output) == contract.outputs
    assert all(value.type.tensor_type.elem_type == onnx.TensorProto.INT32 for value in graph.input)
    inside = [tensor.name for tensor in graph.initializer if len(tensor.raw_data) > 256]
    assert not inside, "a weight inside the graph file is copied into memory, not mapped"
    places = [entry for tensor in graph.initializer for entry in tensor.external_data]
    assert {entry.value for entry in places if entry.key == "location"} == {WEIGHTS_FILE}


def test_large_weights_start_on_a_page(converted: Converted) -> None:
    """What is mapped into memory is shared between processes only by whole pages."""
    graph = onnx.load(converted[MINILM][0] / GRAPH_FILE, load_external_data=False).graph
    places = [{entry.key: entry.value for entry in tensor.external_data} for tensor in graph.initializer]
    offsets = [int(place["offset"]) for place in places if int(place.get("length", 0)) > 1 << 20]
    assert len(offsets) == 13, "the word table and two matrices a layer"
    assert not any(offset % 4096 for offset in offsets)


def test_two_conversions_are_the_same_bytes(source: Source, tmp_path: Path) -> None:
    directory, _ = source.convert()
    convert_directory(source.directory, tmp_path / "again", Choices())
    for path in directory.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_parameters_are_counted(source: Source) -> None:
    """All tensors but the pooler's; segments are folded into positions."""
    directory, contract = source.convert()
    folded = sum(
        tensor.size for name, tensor in source.weights.items() if "pooler" not in name and "token_type" not in name
    )
    assert contract.parameters == folded
    assert load_model(directory, contract, ONNX_FP32).contract.width == 40
