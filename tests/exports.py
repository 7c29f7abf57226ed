"""ONNX files of the tiny BERTs in the shapes that exporters write: operators of opset 11 to 17, int64 inputs, dynamic
axes, outputs by optimum's and sentence-transformers' names. Written with onnx alone, from the checkpoints' own weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.checkpoints import TinyBert, tiny_bert_weights

HIDDEN, TOKENS, VECTOR, LOGITS = "last_hidden_state", "token_embeddings", "sentence_embedding", "logits"
#: Where the 64-bit positions of an export lie whose constants are outside its file, as bge-m3's are.
CONSTANT_FILE = "Constant_7_attr__value"


@dataclass(frozen=True)
class Export:
    """What an exporter was asked for. `contrib`: one operator of ONNX Runtime's own, as its optimiser writes them.

    weights: every number of the graph passes through this.
    """

    opset: int = 17
    outputs: Sequence[str] = (HIDDEN,)
    inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids")
    integers: int = TensorProto.INT64
    axes: tuple[int | str, int | str] = ("batch_size", "sequence_length")
    contrib: bool = False
    constant_outside: bool = False
    weights: Callable[[NDArray[Any]], NDArray[Any]] = lambda array: array


def write_export(spec: TinyBert, path: Path, export: Export | None = None, *, data: str | None = None) -> Path:
    """Write the graph to `path`; `data`: name of the file beside it that holds the weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model = _Writer(spec, export or Export()).model()
    if export is not None and export.constant_outside:
        _put_outside(model, path.parent)
    if data is None:
        onnx.save_model(model, str(path))
    else:
        onnx.save_model(model, str(path), save_as_external_data=True, location=data, size_threshold=64)
    return path


def quantize(source: Path, target: Path) -> Path:
    """As scripts/quantize.py and the publishers of ready-made files do it: scales found anew for each batch."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(source), str(target), weight_type=QuantType.QInt8, per_channel=True)
    return target


def _put_outside(model: onnx.ModelProto, directory: Path) -> None:
    (node,) = [node for node in model.graph.node if node.name == "positions"]
    tensor = node.attribute[0].t
    (directory / CONSTANT_FILE).write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, CONSTANT_FILE, 0, len(tensor.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL


class _Writer:
    """One graph under construction."""

    def __init__(self, spec: TinyBert, export: Export) -> None:
        self.spec, self.export = spec, export
        self.stored = {name: value.astype(np.float32) for name, value in tiny_bert_weights(spec).items()}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.count = 0

    def model(self) -> onnx.ModelProto:
        hidden, mask = self._encoder()
        made = {HIDDEN: hidden, TOKENS: hidden, "pooler_output": "", VECTOR: "", LOGITS: ""}
        if VECTOR in self.export.outputs:
            made[VECTOR] = self._vector(hidden, mask)
        if {"pooler_output", LOGITS} & set(self.export.outputs):
            first = self.node("Gather", hidden, self.number(np.array(0)), axis=1)
            made["pooler_output"] = self.node("Tanh", self._linear(first, "pooler.dense"))
            classifier = np.linspace(-2, 2, self.spec.hidden, dtype=np.float32)[:, None]
            made[LOGITS] = self.node("MatMul", made["pooler_output"], self.number(classifier))
        outputs = []
        for name in self.export.outputs:
            self.nodes.append(helper.make_node("Identity", [made[name]], [name]))
            axes = self.export.axes if name in {HIDDEN, TOKENS} else self.export.axes[:1]
            width = 1 if name == LOGITS else self.spec.hidden
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [*axes, width]))
        inputs = [
            helper.make_tensor_value_info(name, self.export.integers, list(self.export.axes))
            for name in self.export.inputs
        ]
        graph = helper.make_graph(self.nodes, "main_graph", inputs, outputs, self.initializers)
        imports = [helper.make_opsetid("", self.export.opset)]
        imports += [helper.make_opsetid("com.microsoft", 1)] * self.export.contrib
        # A domain that no node is of, as the optimiser of ONNX Runtime leaves them.
        imports.append(helper.make_opsetid("ai.onnx.ml", 3))
        return helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="pytorch")

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self.count += 1
        output = f"/{kind}_{self.count}_output_0"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"/{kind}_{self.count}", **attributes))
        return output

    def number(self, array: NDArray[Any], name: str | None = None) -> str:
        self.count += 1
        name = name or f"onnx::Constant_{self.count}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def floats(self, value: float) -> str:
        return self.number(np.array(value, np.float32))

    def axes(self, kind: str, x: str, axes: list[int], since: int, **attributes: Any) -> str:
        """An operator that takes its axes as an input from version `since` on."""
        if self.export.opset < since:
            return self.node(kind, x, axes=axes, **attributes)
        return self.node(kind, x, self.number(np.array(axes, np.int64)), **attributes)

    def _linear(self, x: str, name: str) -> str:
        weight = self.number(self.export.weights(self.stored[f"{name}.weight"].T), f"{name}.MatMul_{self.count}")
        return self.node("Add", self.node("MatMul", x, weight), self.number(self.stored[f"{name}.bias"]))

    def _norm(self, x: str, name: str) -> str:
        scale, shift = (self.number(self.stored[f"{name}.{part}"]) for part in ("weight", "bias"))
        if self.export.opset >= 17:
            return self.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=self.spec.eps)
        centred = self.node("Sub", x, self.node("ReduceMean", x, axes=[-1]))
        variance = self.node("ReduceMean", self.node("Pow", centred, self.floats(2.0)), axes=[-1])
        deviation = self.node("Sqrt", self.node("Add", variance, self.floats(self.spec.eps)))
        return self.node("Add", self.node("Mul", self.node("Div", centred, deviation), scale), shift)

    def _activation(self, x: str) -> str:
        if self.spec.hidden_act == "relu":
            return self.node("Relu", x)
        if self.export.contrib:
            return self.node("Gelu", x, domain="com.microsoft")
        if self.spec.hidden_act == "gelu":
            inner = self.node("Erf", self.node("Div", x, self.floats(math.sqrt(2.0))))
        else:
            cube = self.node("Mul", self.node("Pow", x, self.floats(3.0)), self.floats(0.044715))
            inner = self.node("Tanh", self.node("Mul", self.node("Add", x, cube), self.floats(math.sqrt(2 / math.pi))))
        return self.node("Mul", self.node("Mul", x, self.floats(0.5)), self.node("Add", inner, self.floats(1.0)))

    def _encoder(self) -> tuple[str, str]:
        """Names of the hidden states [B, S, H] and of the float mask [B, S]."""
        spec, given = self.spec, self.export.inputs
        ids = "input_ids"
        tokens = self._look_up("word", ids)
        length = self.node("Gather", self.node("Shape", ids), self.number(np.array(1)), axis=0)
        positions = "position_ids" if "position_ids" in given else self._positions(length)
        tokens = self.node("Add", tokens, self._look_up("position", positions))
        types = "token_type_ids"
        if types not in given:
            types = self.node("Mul", ids, self.number(np.array(0, np.int64)))
        tokens = self.node("Add", tokens, self._look_up("token_type", types))
        hidden = self._norm(tokens, "embeddings.LayerNorm")
        mask = self.floats(1.0)
        if "attention_mask" in given:
            mask = self.node("Cast", "attention_mask", to=TensorProto.FLOAT)
            seen = self.axes("Unsqueeze", mask, [1, 2], 13)
            bias = self.node("Mul", self.node("Sub", self.floats(1.0), seen), self.floats(-1e9))
        else:
            bias = self.floats(0.0)
        for index in range(spec.layers):
            hidden = self._layer(hidden, bias, f"encoder.layer.{index}")
        return hidden, mask

    def _look_up(self, table: str, ids: str) -> str:
        name = f"embeddings.{table}_embeddings.weight"
        return self.node("Gather", self.number(self.export.weights(self.stored[name]), name), ids)

    def _positions(self, length: str) -> str:
        """The part of a constant that the text is long."""
        self.nodes.append(
            helper.make_node(
                "Constant", [], ["positions"], name="positions",
                value=numpy_helper.from_array(np.arange(self.spec.positions, dtype=np.int64)[None], "positions_value"),
            )
        )  # fmt: skip
        end = self.axes("Unsqueeze", length, [0], 13)
        zero, one = self.number(np.array([0])), self.number(np.array([1]))
        return self.node("Slice", "positions", zero, end, one)

    def _layer(self, x: str, bias: str, name: str) -> str:
        heads, size = self.spec.heads, self.spec.hidden // self.spec.heads
        split = self.number(np.array([0, 0, heads, size]))

        def part(which: str, order: list[int]) -> str:
            projected = self._linear(x, f"{name}.attention.self.{which}")
            return self.node("Transpose", self.node("Reshape", projected, split), perm=order)

        query, key, value = part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]), part("value", [0, 2, 1, 3])
        logits = self.node("Div", self.node("MatMul", query, key), self.floats(math.sqrt(size)))
        attention = self.node("Softmax", self.node("Add", logits, bias), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", attention, value), perm=[0, 2, 1, 3])
        mixed = self.node("Reshape", mixed, self.number(np.array([0, 0, self.spec.hidden])))
        mixed = self._linear(mixed, f"{name}.attention.output.dense")
        x = self._norm(self.node("Add", x, mixed), f"{name}.attention.output.LayerNorm")
        inner = self._activation(self._linear(x, f"{name}.intermediate.dense"))
        inner = self._linear(inner, f"{name}.output.dense")
        return self._norm(self.node("Add", x, inner), f"{name}.output.LayerNorm")

    def _vector(self, hidden: str, mask: str) -> str:
        """Mean pooling, and normalisation where the checkpoint has it."""
        column = self.axes("Unsqueeze", mask, [-1], 13)
        total = self.axes("ReduceSum", self.node("Mul", hidden, column), [1], 13, keepdims=0)
        rows = self.node("Div", total, self.axes("ReduceSum", column, [1], 13, keepdims=0))
        if not self.spec.normalize:
            return rows
        return self.node("Div", rows, self.axes("ReduceL2", rows, [-1], 18, keepdims=1))


def alike(spec: TinyBert, **values: Any) -> TinyBert:
    """The same checkpoint but for some values."""
    return replace(spec, **values)


def of_usual_inputs(graph: Path, target: Path, weights: str | None = None) -> None:
    """A packed graph of our converter as one that takes ids and mask alone: the rest is computed from the mask.

    weights: the file beside it that holds them; None: they are inside.
    """
    model = onnx.load(str(graph))
    kept = [value for value in model.graph.input if value.name not in ("places", "slots")]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    numbers = {"usual.flat": [-1], "usual.axis": 0, "usual.one": 1}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(values, np.int64), name) for name, values in numbers.items()
    )
    made = [
        helper.make_node("Cast", ["attention_mask"], ["usual.mask"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["usual.mask", "usual.flat"], ["usual.row"]),
        helper.make_node("NonZero", ["usual.row"], ["usual.found"]),
        helper.make_node("Reshape", ["usual.found", "usual.flat"], ["usual.places"]),
        helper.make_node("Cast", ["usual.places"], ["places"], to=TensorProto.INT32),
        helper.make_node("CumSum", ["usual.row", "usual.axis"], ["usual.counted"]),
        helper.make_node("Sub", ["usual.counted", "usual.row"], ["usual.before"]),
        helper.make_node("ReduceMax", ["usual.counted"], ["usual.count"], keepdims=1),
        helper.make_node("Sub", ["usual.count", "usual.one"], ["usual.last"]),
        helper.make_node("Min", ["usual.before", "usual.last"], ["usual.kept"]),
        helper.make_node("Shape", ["attention_mask"], ["usual.shape"]),
        helper.make_node("Reshape", ["usual.kept", "usual.shape"], ["usual.slots"]),
        helper.make_node("Cast", ["usual.slots"], ["slots"], to=TensorProto.INT32),
    ]
    for place, node in enumerate(made):
        model.graph.node.insert(place, node)
    onnx.save(model, str(target), save_as_external_data=weights is not None, location=weights)
