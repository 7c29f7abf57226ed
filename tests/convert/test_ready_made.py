"""Ready-made graphs in the shapes of real exports: the vectors of our own conversion of the same weights, or a refusal
that says what differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sekisho.contract import CONTRACT_FILE, GRAPH_FILE, WEIGHTS_FILE, Contract, Passage, Rows
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.convert.ready_made import convert_ready_made
from sekisho.errors import ConversionFailed
from sekisho.runtime.load import load_model
from sekisho.runtime.select import Choice
from tests import exports
from tests.checkpoints import TinyBert, write_tiny_bert
from tests.engines import FP32, ONNX_FP32
from tests.exports import CONSTANT_FILE, HIDDEN, LOGITS, TOKENS, VECTOR, Export, write_export
from tests.goldens_io import cosines, golden_texts, run_texts, tiny_spec

ONNX = "onnx/model.onnx"
MEAN, CLS = tiny_spec("tiny-bert-mean"), tiny_spec("tiny-bert-cls")
TEXTS = golden_texts()[:60]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkpoint's files without its weights."""
    return without_weights(MEAN, tmp_path / "source")


def without_weights(spec: TinyBert, root: Path) -> Path:
    (write_tiny_bert(spec, root) / "model.safetensors").unlink()
    return root


def convert(source: Path, *, precision: Any = "auto", **choices: Any) -> tuple[Path, Contract]:
    target = source.with_name("prepared")
    target.mkdir()
    return target, convert_ready_made(source, ONNX, target, Choices(**choices), precision)


def refused(source: Path, **choices: Any) -> str:
    with pytest.raises(ConversionFailed) as caught:
        convert(source, **choices)
    return caught.value.message


def rows_of(directory: Path, contract: Contract, choice: Choice = ONNX_FP32) -> Rows:
    model = load_model(directory, contract, choice)
    try:
        return run_texts(model, TEXTS)[0]
    finally:
        model.close()


def our_rows(spec: TinyBert, tmp_path: Path, **choices: Any) -> Rows:
    """Our own conversion of the same weights."""
    directory = tmp_path / "ours"
    contract = convert_directory(write_tiny_bert(spec, tmp_path / "whole"), directory, Choices(**choices))
    return rows_of(directory, contract)


@FP32
@pytest.mark.parametrize("opset", [11, 13, 14, 17])
def test_an_export_of_each_opset_is_our_own_conversion(
    source: Path, tmp_path: Path, opset: int, choice: Choice
) -> None:
    write_export(MEAN, source / ONNX, Export(opset=opset))
    directory, contract = convert(source)
    assert contract.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert contract.outputs == ("embedding", "norm")
    assert (contract.width, contract.max_tokens, contract.vocabulary, contract.pad_id) == (40, 512, 1021, 0)
    assert (contract.numbers, contract.graph, contract.engine, contract.quality) == ("float", ONNX, None, None)
    assert (contract.pooling, contract.normalized, contract.family) == ("mean", True, "bert")
    assert Contract.read(directory) == contract
    assert cosines(rows_of(directory, contract, choice), our_rows(MEAN, tmp_path)).min() >= 0.999999


@FP32
@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last", "weighted_mean"])
@pytest.mark.parametrize("normalize", [True, False])
def test_each_pooling(source: Path, tmp_path: Path, pooling: Any, opset: int, normalize: bool, choice: Choice) -> None:
    write_export(MEAN, source / ONNX, Export(opset=opset))
    directory, contract = convert(source, pooling=pooling, normalize=normalize)
    rows, ours = rows_of(directory, contract, choice), our_rows(MEAN, tmp_path, pooling=pooling, normalize=normalize)
    assert cosines(rows, ours).min() >= 0.999999
    assert np.allclose(np.linalg.norm(rows, axis=1), np.linalg.norm(ours, axis=1), rtol=1e-4)


@pytest.mark.parametrize(
    "export",
    [
        Export(inputs=("input_ids", "attention_mask")),
        Export(inputs=("attention_mask", "input_ids", "token_type_ids")),
        Export(inputs=("input_ids", "attention_mask", "position_ids")),
        Export(integers=TensorProto.INT32),
        Export(outputs=(TOKENS, VECTOR)),
        Export(outputs=(VECTOR,)),
        Export(outputs=(TOKENS,)),
        Export(outputs=("pooler_output", HIDDEN)),
        Export(opset=11, outputs=(HIDDEN, VECTOR), inputs=("input_ids", "attention_mask", "position_ids")),
        Export(constant_outside=True),
    ],
    ids=repr,
)
def test_each_shape_of_inputs_and_outputs(source: Path, tmp_path: Path, export: Export) -> None:
    if export.integers == TensorProto.INT32:
        export = replace(export, inputs=("input_ids", "attention_mask", "token_type_ids", "position_ids"))
    write_export(MEAN, source / ONNX, export)
    assert (source / "onnx" / CONSTANT_FILE).is_file() == export.constant_outside
    directory, contract = convert(source)
    assert set(contract.inputs) == set(export.inputs) - {"position_ids"}
    assert contract.pooling == (None if VECTOR in export.outputs else "mean")
    assert cosines(rows_of(directory, contract), our_rows(MEAN, tmp_path)).min() >= 0.999999


def test_a_model_of_one_type_takes_no_types(tmp_path: Path) -> None:
    source = without_weights(CLS, tmp_path / "source")
    write_export(CLS, source / ONNX)
    directory, contract = convert(source)
    assert contract.inputs == ("input_ids", "attention_mask")
    assert cosines(rows_of(directory, contract), our_rows(CLS, tmp_path)).min() >= 0.999999


def test_weights_beside_the_graph_are_read_where_they_lie_and_written_beside_ours(source: Path, tmp_path: Path) -> None:
    """Also through the symbolic links that a hub's cache is made of."""
    store = tmp_path / "blobs"
    write_export(MEAN, store / "model.onnx", data="model.onnx_data")
    (source / "onnx").mkdir()
    for name in ("model.onnx", "model.onnx_data"):
        (store / name).rename(store / f"{name}.blob")
        (source / "onnx" / name).symlink_to(store / f"{name}.blob")
    directory, contract = convert(source)
    assert {path.name for path in directory.iterdir()} == {GRAPH_FILE, WEIGHTS_FILE, CONTRACT_FILE, "tokenizer.json"}
    assert (directory / GRAPH_FILE).stat().st_size < (directory / WEIGHTS_FILE).stat().st_size
    assert cosines(rows_of(directory, contract), our_rows(MEAN, tmp_path)).min() >= 0.999999


def test_a_dense_module_follows_the_pooling(source: Path, tmp_path: Path) -> None:
    from tests.catalog.test_tampering import write_dense

    write_export(MEAN, source / ONNX, Export(opset=14))
    write_dense(MEAN, source)
    whole = write_tiny_bert(MEAN, tmp_path / "whole")
    write_dense(MEAN, whole)
    directory, contract = convert(source)
    assert contract.width == 8
    ours = convert_directory(whole, tmp_path / "ours", Choices())
    assert cosines(rows_of(directory, contract), rows_of(tmp_path / "ours", ours)).min() >= 0.999999


def test_what_a_dynamically_quantised_file_is_called(source: Path, tmp_path: Path) -> None:
    write_export(MEAN, tmp_path / "float.onnx", Export(opset=14))
    (source / "onnx").mkdir()
    exports.quantize(tmp_path / "float.onnx", source / ONNX)
    directory, contract = convert(source, precision="int8")
    assert (contract.numbers, contract.engine, contract.vocabulary) == ("dynamic_int8", "onnxruntime", 1021)
    assert contract.parameters > 40 * 1021
    found = cosines(rows_of(directory, contract), our_rows(MEAN, tmp_path))
    assert 0.5 < found.min() < 0.99999


def test_a_file_quantised_with_stored_scales_is_int8_and_runs_anywhere(source: Path, tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            draw = np.random.default_rng(3)
            self._left = [draw.integers(0, 1021, (2, 12)) for _ in range(4)]

        def get_next(self) -> dict[str, Any] | None:
            if not self._left:
                return None
            ids = self._left.pop()
            return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}

    write_export(MEAN, tmp_path / "float.onnx", Export(opset=14))
    (source / "onnx").mkdir()
    quantize_static(str(tmp_path / "float.onnx"), str(source / ONNX), Reader(), quant_format=QuantFormat.QDQ)
    _, contract = convert(source, precision="int8")
    assert (contract.numbers, contract.engine) == ("int8", None)


def test_operators_of_onnx_runtime_alone_are_for_onnx_runtime_alone(source: Path, tmp_path: Path) -> None:
    write_export(MEAN, source / ONNX, Export(contrib=True))
    directory, contract = convert(source)
    assert (contract.numbers, contract.engine) == ("float", "onnxruntime")
    assert cosines(rows_of(directory, contract), our_rows(MEAN, tmp_path)).min() >= 0.99999


def test_without_a_config_the_graph_and_the_tokenizer_say_it(source: Path, tmp_path: Path) -> None:
    """A person's own graph: scripts/export_onnx.py writes no config.json."""
    for name in ("config.json", "modules.json", "sentence_bert_config.json"):
        (source / name).unlink()
    (source / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 100, "pad_token": "[PAD]"}))
    write_export(MEAN, source / ONNX, Export(outputs=(VECTOR,)))
    directory, contract = convert(source)
    assert (contract.family, contract.max_tokens, contract.vocabulary) == ("onnx", 100, 1021)
    assert contract.origins["max_tokens"] == "tokenizer_config.json"
    assert (contract.normalized, contract.outputs, contract.pooling) == (False, ("embedding",), None)
    ours = our_rows(replace(MEAN, max_seq_length=100), tmp_path)
    assert cosines(rows_of(directory, contract), ours).min() >= 0.999999


def test_an_architecture_that_we_do_not_have(source: Path, tmp_path: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"model_type": "nomic_bert"}))
    write_export(MEAN, source / ONNX)
    directory, contract = convert(source)
    assert contract.family == "nomic_bert"
    assert cosines(rows_of(directory, contract), our_rows(MEAN, tmp_path)).min() >= 0.999999


def test_a_tokenizer_beside_the_graph(source: Path) -> None:
    write_export(MEAN, source / ONNX)
    (source / "tokenizer.json").rename(source / "onnx" / "tokenizer.json")
    directory, _ = convert(source)
    assert (directory / "tokenizer.json").read_bytes() == (source / "onnx" / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("opset", [11, 17])
def test_a_rerankers_logits_are_the_files_own(source: Path, opset: int) -> None:
    path = write_export(MEAN, source / ONNX, Export(opset=opset, outputs=(LOGITS,)))
    directory, contract = convert(source, kind="reranker")
    assert (contract.kind, contract.outputs, contract.width) == ("reranker", ("logits",), 1)
    model = load_model(directory, contract, ONNX_FP32)
    pairs = [Passage(TEXTS[0], pair=text) for text in TEXTS[1:12]]
    tokens = model.encode(pairs, "end")
    scores = model.run(0, tokens)[0]
    model.close()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for row, one in zip(scores, tokens, strict=True):
        ids = np.array([one.ids], np.int64)
        types = np.array([one.type_ids if one.type_ids is not None else [0] * len(one)], np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}
        assert np.allclose(session.run(None, given)[0][0], row, atol=1e-4)
    assert scores.std() > 0.01


def test_a_config_with_other_labels_than_the_graph_is_told(source: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"id2label": {"0": "A", "1": "B"}}))
    write_export(MEAN, source / ONNX, Export(outputs=(LOGITS,)))
    assert "1 scores a pair, config.json has 2 labels" in refused(source, kind="reranker")


def test_dropout_that_was_left_switched_on_drops_nothing(source: Path, tmp_path: Path) -> None:
    model = onnx.load(write_export(MEAN, source / ONNX))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.5, np.float32), "ratio"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "training"))
    (last,) = [node for node in model.graph.node if node.output[0] == HIDDEN]
    dropout = helper.make_node("Dropout", [last.input[0], "ratio", "training"], ["dropped"])
    last.input[0] = "dropped"
    model.graph.node.insert(len(model.graph.node) - 1, dropout)
    onnx.save_model(model, source / ONNX)
    directory, contract = convert(source)
    assert cosines(rows_of(directory, contract), our_rows(MEAN, tmp_path)).min() >= 0.999999


def test_progress_rises_to_the_whole(source: Path, tmp_path: Path) -> None:
    write_export(MEAN, source / ONNX)
    seen: list[tuple[int, int]] = []
    (tmp_path / "made").mkdir()
    convert_ready_made(source, ONNX, tmp_path / "made", Choices(), "auto", lambda done, size: seen.append((done, size)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize(
    ("export", "message"),
    [
        (Export(inputs=("input_ids",)), "not attention_mask"),
        (Export(axes=(1, "sequence_length")), "dynamic axes"),
        (Export(axes=("batch_size", 128)), "dynamic axes"),
        (Export(outputs=("pooler_output", HIDDEN, "pooler_output")[:1]), ""),
        (Export(opset=10), "opset 10"),
    ],
)
def test_a_shape_that_cannot_be_served_is_told(source: Path, export: Export, message: str) -> None:
    write_export(MEAN, source / ONNX, export)
    if message:
        assert message in refused(source)
    else:  # one output alone is taken for the vector, whatever it is called
        assert convert(source)[1].pooling is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"vocab_size": 1000}, "table of 1,021 rows, config.json says vocab_size 1,000"),
        ({"hidden_size": 48}, "40 numbers a token, config.json says hidden_size 48"),
    ],
)
def test_a_config_of_another_model_is_told(source: Path, config: dict[str, Any], message: str) -> None:
    written = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(written | config))
    write_export(MEAN, source / ONNX)
    assert message in refused(source)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"dimensions": 384}, "dimensions 384, onnx/model.onnx gives 40"),
        ({"heads": ("sparse",)}, "heads sparse are made from the weights"),
        ({"precision": "int8"}, "not quantised"),
        ({"kind": "reranker"}, "a reranker gives logits"),
        ({"max_tokens": 513}, "513"),
    ],
)
def test_what_models_yaml_asks_for_and_the_file_is_not(source: Path, choices: dict[str, Any], message: str) -> None:
    write_export(MEAN, source / ONNX)
    assert message in refused(source, **choices)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_quantised_file_is_not_passed_off_as_floats(source: Path, tmp_path: Path, precision: str) -> None:
    write_export(MEAN, tmp_path / "float.onnx", Export(opset=14))
    (source / "onnx").mkdir()
    exports.quantize(tmp_path / "float.onnx", source / ONNX)
    assert f"precision: {precision}" in refused(source, precision=precision)


def test_a_longer_input_than_the_graph_has_positions_for_is_told(tmp_path: Path) -> None:
    """The config says 512 positions, the graph has 130."""
    source = without_weights(replace(CLS, positions=512, max_seq_length=300), tmp_path / "source")
    write_export(CLS, source / ONNX)
    assert "texts of up to 300 tokens" in refused(source)


def test_a_graph_that_reads_its_padding_is_told(source: Path) -> None:
    model = onnx.load(write_export(MEAN, source / ONNX))
    for node in model.graph.node:  # the mask is read and thrown away
        if node.op_type == "Cast":
            node.op_type, node.attribute[0].name = "IsNaN", "to"
            del node.attribute[:]
            node.input[0] = "as_float"
            after = helper.make_node("Cast", [node.output[0]], ["as_ones"], to=TensorProto.FLOAT)
            first = helper.make_node("Cast", ["attention_mask"], ["as_float"], to=TensorProto.FLOAT)
            mask = node.output[0]
            break
    ones = helper.make_node("Sub", ["one", "as_ones"], ["all_ones"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((), np.float32), "one"))
    index = [node.op_type for node in model.graph.node].index("IsNaN")
    for other in model.graph.node[index + 1 :]:
        other.input[:] = ["all_ones" if name == mask else name for name in other.input]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*rest[:index], first, rest[index], after, ones, *rest[index + 1 :]])
    onnx.save_model(model, source / ONNX)
    assert "reads the padding" in refused(source)


def scrap(model: onnx.ModelProto) -> None:
    model.graph.node[3].op_type = "NoSuchOperator"


def foreign(model: onnx.ModelProto) -> None:
    model.graph.node[3].domain = "ai.onnx.contrib"
    model.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))


def cache(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("past_key_values.0.key", TensorProto.FLOAT, ["b", 2, "s", 8])
    model.graph.input.append(value)


def infinite(model: onnx.ModelProto) -> None:
    (bias,) = [t for t in model.graph.initializer if t.name == model.graph.node[-2].input[1]]
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(40, np.inf, np.float32), bias.name))


def dangling(model: onnx.ModelProto) -> None:
    model.graph.node[5].input[0] = "nothing"


def words(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (scrap, "no valid ONNX graph"),
        (foreign, "operators of ai.onnx.contrib, which are a library's code"),
        (cache, "needs the inputs past_key_values.0.key"),
        (infinite, "infinite"),
        (dangling, "onnx/model.onnx"),
        (words, "input_ids is STRING"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_is_wrong_is_told(source: Path, spoil: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = onnx.load(write_export(MEAN, source / ONNX))
    spoil(model)
    onnx.save_model(model, source / ONNX)
    assert message in refused(source)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a graph", b'{"a": 1}'])
def test_bytes_that_are_no_graph(source: Path, content: bytes) -> None:
    (source / "onnx").mkdir()
    (source / ONNX).write_bytes(content)
    assert ONNX in refused(source)


@pytest.mark.parametrize("location", ["../secret.bin", "missing.bin", "/etc/hostname"])
def test_data_that_lies_elsewhere_is_never_read(source: Path, location: str) -> None:
    (source / "secret.bin").write_bytes(b"x" * 10_000_000)
    model = onnx.load(write_export(MEAN, source / ONNX, data="model.onnx_data"), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    onnx.save_model(model, source / ONNX)
    assert "which is no file beside it" in refused(source)


def test_data_that_is_cut_short(source: Path) -> None:
    write_export(MEAN, source / ONNX, data="model.onnx_data")
    data = source / "onnx" / "model.onnx_data"
    data.write_bytes(data.read_bytes()[:-1])
    assert "one is cut short" in refused(source)
