"""The encoder families and their heads against transformers, through both engines, without anything in between."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sekisho.arrays import pad
from sekisho.contract import GRAPH_FILE, Contract, Tokens
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.convert.families.deberta import buckets
from sekisho.errors import ConversionFailed
from tests.checkpoints_encoders import (
    TINY_ENCODERS,
    TinyEncoder,
    tiny_encoder,
    tiny_encoder_weights,
    write_tiny_encoder,
)
from tests.goldens.encoders import EncoderGolden, Sequence, load_golden, sequences
from tests.goldens_io import cosines

Rows = NDArray[np.float32]
Run = Callable[[dict[str, NDArray[np.int32]]], Rows]

ENGINES = ("onnxruntime", "openvino")
NAMES = tuple(spec.name for spec in TINY_ENCODERS)
BATCH = 8


@dataclass(frozen=True)
class Prepared:
    """A converted checkpoint."""

    spec: TinyEncoder
    source: Path
    directory: Path
    contract: Contract

    @property
    def golden(self) -> EncoderGolden:
        return load_golden(self.spec)


def convert(spec: TinyEncoder, source: Path, target: Path) -> Contract:
    return convert_directory(source, target, Choices(kind=spec.kind, family=spec.family))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    root, made = tmp_path_factory.mktemp("encoders"), dict[str, Prepared]()

    def get(name: str) -> Prepared:
        if name not in made:
            spec = tiny_encoder(name)
            source = write_tiny_encoder(spec, root / "sources" / name)
            made[name] = Prepared(spec, source, root / name, convert(spec, source, root / name))
        return made[name]

    return get


Get = Callable[[str], Prepared]


def session(engine: str, directory: Path) -> Run:
    """The first output of the graph; nothing of the runtime takes part."""
    path = str(directory / GRAPH_FILE)
    if engine == "onnxruntime":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        loaded = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda given: np.asarray(loaded.run(None, given)[0])
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}
    compiled = openvino.Core().compile_model(path, "CPU", hints)
    return lambda given: np.array(compiled(given)[0])


def padded(contract: Contract, inputs: list[Sequence]) -> dict[str, NDArray[np.int32]]:
    """One rectangle, padded at the end with the contract's padding id."""
    return pad([Tokens(one.ids, type_ids=one.types) for one in inputs], contract.pad_id, contract.inputs)


def in_batches(run: Run, contract: Contract, inputs: list[Sequence], size: int) -> Rows:
    parts = [run(padded(contract, inputs[start : start + size])) for start in range(0, len(inputs), size)]
    return np.concatenate(parts)


def assert_near(spec: TinyEncoder, rows: Rows, reference: Rows) -> None:
    """float32 against float32: what is left is the order of additions."""
    if spec.kind == "reranker":
        np.testing.assert_allclose(rows, reference, rtol=1e-4, atol=1e-5)
    else:
        assert cosines(rows, reference).min() >= 0.99999
        np.testing.assert_allclose(rows, reference, rtol=0, atol=1e-5 * float(np.abs(reference).max()))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_padded_batches_and_single_inputs_equal_the_reference(prepared: Get, name: str, engine: str) -> None:
    model = prepared(name)
    golden, run = model.golden, session(engine, model.directory)
    batched = in_batches(run, model.contract, golden.inputs, BATCH)
    assert_near(model.spec, batched, golden.outputs)
    # Every fourth alone: each shape is another plan to make for OpenVINO.
    alone = in_batches(run, model.contract, golden.inputs[::4], 1)
    assert_near(model.spec, alone, golden.outputs[::4])
    assert_near(model.spec, batched[::4], alone)


@pytest.mark.parametrize("name", NAMES)
def test_the_ids_of_the_golden_are_those_of_the_tokenizer(prepared: Get, name: str) -> None:
    model = prepared(name)
    assert sequences(model.spec, model.source) == model.golden.inputs
    lengths = [len(one.ids) for one in model.golden.inputs]
    assert max(lengths) == model.spec.limit == model.contract.max_tokens
    window = model.spec.config.get("local_attention", model.spec.config.get("position_buckets", 0))
    assert sum(length > 2 * window for length in lengths) > 10


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_says_what_the_graph_takes_and_gives(prepared: Get, name: str) -> None:
    model = prepared(name)
    spec, contract = model.spec, model.contract
    assert contract.kind == spec.kind
    types = ("token_type_ids",) if spec.segments else ()
    assert contract.inputs == ("input_ids", "attention_mask", *types, "places", "slots")
    assert contract.pad_id == spec.config["pad_token_id"]
    assert contract.width == model.golden.outputs.shape[1]
    outputs = ("embedding", "norm") if spec.normalize else ("embedding",)
    assert contract.outputs == (outputs if spec.kind == "embedding" else ("logits",))


@pytest.mark.parametrize("name", ["modernbert-cls", "modernbert-reranker-mean", "gte-mean", "deberta-reranker-shared"])
def test_parameters_are_those_of_the_checkpoint(prepared: Get, name: str) -> None:
    """Tables made here count for nothing. Elsewhere the segment's row is part of the position table."""
    model = prepared(name)
    weights = tiny_encoder_weights(model.spec)
    assert model.contract.parameters == sum(tensor.size for tensor in weights.values())


@pytest.mark.parametrize("name", NAMES)
def test_outputs_of_different_texts_differ(name: str) -> None:
    """Otherwise an error in the graph would not show."""
    outputs = np.unique(load_golden(tiny_encoder(name)).outputs, axis=0).astype(np.float64)
    if tiny_encoder(name).kind == "reranker":
        assert outputs.std(axis=0).min() > 0.1
        return
    outputs /= np.linalg.norm(outputs, axis=1, keepdims=True)
    pairs = (outputs @ outputs.T)[np.triu_indices(len(outputs), 1)]
    assert np.median(pairs) < 0.9
    assert pairs.mean() < 0.85


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("bert-reranker", 130),
        ("xlm-roberta-cls", 128),
        ("luke-cls", 78),
        ("distilbert-mean", 100),
        ("modernbert-mean", 256),
        ("gte-cls", 160),
        ("deberta-cls", 80),
    ],
)
def test_without_a_stated_limit_the_positions_decide(tmp_path: Path, name: str, limit: int) -> None:
    """Position rows up to the padding id are no token's."""
    source = write_tiny_encoder(tiny_encoder(name), tmp_path / "source")
    (source / "sentence_bert_config.json").unlink()
    assert convert(tiny_encoder(name), source, tmp_path / "target").max_tokens == limit


def test_both_spellings_of_the_rope_config_give_the_same_graph(prepared: Get) -> None:
    older, newer = prepared("modernbert-mean").directory, prepared("modernbert-mean-5").directory
    for path in older.iterdir():
        if path.name != "contract.json":
            assert path.read_bytes() == (newer / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", [spec.name for spec in TINY_ENCODERS if not spec.twin])
def test_every_weight_is_needed_and_none_is_ignored(tmp_path: Path, name: str) -> None:
    """One weight of each layer and of the head taken away is missed; one more than the family knows is refused."""
    spec = tiny_encoder(name)
    source = write_tiny_encoder(spec, tmp_path / "source")
    weights = tiny_encoder_weights(spec)
    for attempt, (named, changed) in enumerate(_damages(spec, weights)):
        save_file(changed, source / "model.safetensors")
        with pytest.raises(ConversionFailed) as raised:
            convert(spec, source, tmp_path / str(attempt))
        assert named in str(raised.value)


def _damages(spec: TinyEncoder, weights: dict[str, NDArray[Any]]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """Part of the message, and the weights."""
    layer = next(
        name
        for name in reversed(weights)
        if ".0." in name and name.endswith("weight") and not re.search("[we]2[we]_", name)
    )
    yield "holds no weight", {name: tensor for name, tensor in weights.items() if name != layer}
    yield "has shape", weights | {layer: np.zeros((3, 5), np.float32)}
    extra = layer.replace(".0.", f".{spec.config.get('num_hidden_layers', spec.config.get('n_layers'))}.")
    yield "no place for", weights | {extra: weights[layer]}
    if spec.kind == "reranker":
        head = next(name for name in weights if "classifier" in name)
        yield "holds no weight", {name: tensor for name, tensor in weights.items() if name != head}


@pytest.mark.parametrize("name", [spec.name for spec in TINY_ENCODERS if spec.kind == "reranker" and not spec.twin])
def test_a_reranker_can_be_asked_for_vectors(tmp_path: Path, name: str) -> None:
    """Its head is known and left out."""
    source = write_tiny_encoder(tiny_encoder(name), tmp_path / "source")
    contract = convert_directory(source, tmp_path / "target", Choices(pooling="mean", normalize=True))
    assert contract.outputs == ("embedding", "norm")


def test_luke_scores_no_pairs(tmp_path: Path) -> None:
    source = write_tiny_encoder(tiny_encoder("luke-mean"), tmp_path / "source")
    with pytest.raises(ConversionFailed, match="no classification head"):
        convert_directory(source, tmp_path / "target", Choices(kind="reranker"))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("modernbert-mean", {"num_attention_heads": 5}, "no multiple"),
        ("modernbert-mean", {"attention_bias": True}, "attention_bias"),
        ("modernbert-mean", {"hidden_activation": "mish"}, "mish"),
        ("modernbert-mean", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "rope_scaling"),
        ("modernbert-mean", {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rope_type.*yarn"),
        ("modernbert-reranker-cls", {"classifier_pooling": "max"}, "classifier_pooling"),
        ("xlm-roberta-cls", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("jina-reranker", {"position_embedding_type": "rotary"}, "position_embedding_type"),
        ("distilbert-mean", {"n_heads": 7}, "no multiple"),
        ("gte-cls", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ("gte-cls", {"rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": 0.5}}, "mixed_b"),
        ("gte-cls", {"logn_attention_scale": True}, "logn_attention_scale"),
        ("gte-cls", {"position_embedding_type": "absolute"}, "position_embedding_type"),
        ("gte-reranker", {"type_vocab_size": 2}, "type_vocab_size"),
        ("deberta-mean", {"conv_kernel_size": 3}, "conv_kernel_size"),
        ("deberta-mean", {"position_biased_input": True}, "position_biased_input"),
        ("deberta-mean", {"type_vocab_size": 2}, "type_vocab_size"),
        ("deberta-mean", {"relative_attention": False}, "relative_attention"),
        ("deberta-mean", {"pos_att_type": "p2p|c2p"}, "pos_att_type"),
        ("deberta-mean", {"pos_att_type": []}, "pos_att_type"),
        ("deberta-mean", {"num_attention_heads": 5}, "no multiple"),
    ],
)
def test_a_config_that_asks_for_more_is_refused(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    spec = tiny_encoder(name)
    source = write_tiny_encoder(spec, tmp_path / "source")
    (source / "config.json").write_text(json.dumps({**spec.config, **changes}), "utf-8")
    with pytest.raises(ConversionFailed, match=message):
        convert(spec, source, tmp_path / "target")


@pytest.mark.parametrize(("count", "furthest", "some"), [(256, 512, {0: 0, 128: 128, 129: 129, 200: 169, 511: 255})])
def test_deberta_buckets(count: int, furthest: int, some: dict[int, int]) -> None:
    """Each near distance has its own, far ones share; the figures are transformers' make_log_bucket_position."""
    distance = np.arange(-furthest + 1, furthest)
    found = buckets(distance, count, furthest)
    assert (found == -found[::-1]).all()
    assert (np.diff(found) >= 0).all()
    assert {key: int(found[key + furthest - 1]) for key in some} == some
