"""A float graph in fp16, for cards: products in half the bytes, what needs fp32's range or sums in fp32.

A value is one of three things. *Half* is what products and all between them make: projections, attention, activations,
the sums of the residual stream. *Single* is what a norm that is written out, pooling, normalisation or a head computes
with, and whatever is computed from that. What hangs on the masks and positions alone is *either*, and cast where it
meets a half value. A cast stands where one meets the other; inputs stay int32 and outputs float32.

`LayerNormalization` and `Softmax` stay half: ONNX Runtime's CUDA kernels read and write fp16 there and sum in fp32
(onnxruntime/core/providers/cuda/math/softmax_impl.cu, nn/layer_norm_impl.cu), and casts around them would triple what
they move. Written here and not taken from `onnxruntime.transformers.float16`: that needs the whole graph as one message
of at most 2 GiB, lifts weights below 6e-8 to that, and knows no value by its meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sekisho.contract import GRAPH_FILE
from sekisho.convert.build import save
from sekisho.convert.fused_attention import fuse
from sekisho.convert.packing import is_of_texts
from sekisho.errors import ConversionFailed

Class = Literal["half", "single", "either"]
Value = ir.Value

#: Scores of what may not be seen, in place of -3e38: two of them add up within fp16's range, and -inf, alone in a row,
#: would make its softmax no number. No real score comes near.
MASKED: Final = 30_000.0

#: Operators that compute in fp16 where what they read is half.
_HALF: Final = frozenset(
    "Add Attention Concat Expand Gather GatherElements GatherND Gelu LayerNormalization Mul Neg Pad Relu Reshape "
    "Sigmoid Slice Softmax Split Squeeze Sub Tanh Transpose Unsqueeze Where".split()
)
_REDUCTIONS: Final = frozenset({"ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum"})
_POOLED_RANK = 2

#: Families whose values leave fp16's range (65,504) on texts that no list of ours may hold. Gemma 3's reach 800,000
#: (https://github.com/unslothai/unsloth/pull/4014; text-embeddings-inference takes it in fp32 alone, its issue 748).
#: Language models are trained in bfloat16: Qwen3-Embedding gave NaN in fp16 for single words
#: (https://github.com/ollama/ollama/issues/12921, https://github.com/QwenLM/Qwen3/issues/868).
_UNFIT: Final = {
    "static": "a table of vectors has no products",
    "gemma": "values of Gemma 3 leave fp16's range",
    "decoder": "language models are trained in bfloat16, and some of their values leave fp16's range",
    "nvembed": "language models are trained in bfloat16, and some of their values leave fp16's range",
}

#: Told the weights done and all of them.
Progress = Callable[[int, int], None]


def unfit(family: str) -> str | None:
    """Why nobody is given a family's models in fp16 who has not asked for it; None where there is no reason."""
    return _UNFIT.get(family)


def halve(directory: Path, target: Path, progress: Progress | None = None) -> int:
    """Write the graph of `directory` in fp16 to `target`, which is another; how many products it has in that.

    Raises ConversionFailed where there is nothing to gain, OSError where the disk fails.
    """
    model = ir.load(directory / GRAPH_FILE)
    products = in_half(model)
    if not products:
        raise ConversionFailed("fp16: this model has no products; leave `precision` at auto")
    save(model, target, progress)
    return products


def in_half(model: ir.Model) -> int:
    """Change a graph of our converter; how many products are fp16 then."""
    fuse(model.graph)
    classes: dict[Value, Class] = {}
    nodes = list(model.graph)
    for node in nodes:
        kind = _class_of(node, classes)
        if kind is not None:
            classes.update(dict.fromkeys(node.outputs, kind))
    _Casts(model.graph, classes).apply(nodes)
    for name in [name for name, value in model.graph.initializers.items() if not value.uses()]:
        del model.graph.initializers[name]
    return sum(node.op_type == "MatMul" and classes.get(node.outputs[0]) == "half" for node in nodes)


def _class_of(node: ir.Node, classes: dict[Value, Class]) -> Class | None:
    """What a node computes in; None where its output is no float32."""
    if node.outputs[0].dtype != ir.DataType.FLOAT:
        return None
    read = {classes[value] for value in node.inputs if value in classes}
    weights = any(value is not None and value.is_initializer() and _is_weight(value) for value in node.inputs)
    if node.op_type == "MatMul":
        # A product of one row a text costs nothing, and an error in it is the answer's.
        return "single" if is_of_texts(node.inputs[0]) else "half"
    if node.op_type in {"Gather", "Slice"} and weights and not read:
        return "half"  # a table of tokens, of positions, of angles
    if node.op_type == "Expand" and any(use.node.op_type == "Attention" for use in node.outputs[0].uses()):
        return "half"  # a mask, cast before it is as large as the scores
    if node.op_type not in _HALF or _feeds_reduction(node):
        return "single" if read & {"half", "single"} else "either"
    return "single" if "single" in read else "half" if "half" in read else "either"


def _is_weight(value: Value) -> bool:
    tensor = value.const_value
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and len(tensor.shape) == _POOLED_RANK


def _feeds_reduction(node: ir.Node) -> bool:
    """Squares and weighted tokens on their way to a sum leave fp16's range before anything else does."""
    return any(use.node.op_type in _REDUCTIONS for output in node.outputs for use in output.uses())


class _Casts:
    """Puts a cast wherever a value is read as what it is not, each but once."""

    def __init__(self, graph: ir.Graph, classes: dict[Value, Class]) -> None:
        self._graph = graph
        self._classes = classes
        self._made: dict[tuple[Value, bool], Value] = {}

    def apply(self, nodes: list[ir.Node]) -> None:
        for node in nodes:
            reads_half = self._classes.get(node.outputs[0]) == "half"
            for index, value in enumerate(node.inputs):
                if value is not None and self._is_float(value):
                    node.replace_input_with(index, self._as(value, node, half=reads_half))
            if reads_half:
                for output in node.outputs:
                    output.type = ir.TensorType(ir.DataType.FLOAT16)
        for index, output in enumerate(self._graph.outputs):
            if self._classes.get(output) == "half":
                self._end_single(index, output)

    def _is_float(self, value: Value) -> bool:
        return value in self._classes or (value.is_initializer() and value.dtype == ir.DataType.FLOAT)

    def _as(self, value: Value, reader: ir.Node, *, half: bool) -> Value:
        is_half = self._classes.get(value) == "half"
        if is_half == half:
            return value
        key = value, half
        if key not in self._made:
            self._made[key] = self._constant(value) if value.is_initializer() else self._cast(value, reader, half=half)
        return self._made[key]

    def _constant(self, value: Value) -> Value:
        """A weight in fp16, read and rounded when it is written; the fp32 one goes where nobody else reads it."""
        tensor = value.const_value
        assert tensor is not None  # noqa: S101 - an initializer of a loaded graph
        name, shape = f"{value.name}.half", ir.Shape(tensor.shape.numpy())
        lazy = ir.LazyTensor(
            lambda: ir.tensor(rounded(tensor.numpy()), name=name),
            dtype=ir.DataType.FLOAT16,
            shape=shape,
            name=name,
        )
        made = Value(name=name, shape=shape, type=ir.TensorType(ir.DataType.FLOAT16), const_value=lazy)
        self._graph.register_initializer(made)
        return made

    def _cast(self, value: Value, reader: ir.Node, *, half: bool) -> Value:
        producer = value.producer()
        source = value
        if half and self._classes.get(value) == "either":
            source = self._node(
                "Max", [value, self._lowest()], f"{value.name}.clipped", ir.DataType.FLOAT, producer, reader
            )
            producer = source.producer()
        kind = ir.DataType.FLOAT16 if half else ir.DataType.FLOAT
        return self._node(
            "Cast", [source], f"{value.name}.{'half' if half else 'single'}", kind, producer, reader, to=kind
        )

    def _lowest(self) -> Value:
        name = "half.masked"
        if name not in self._graph.initializers:
            tensor = ir.tensor(np.array(-MASKED, np.float32), name=name)
            self._graph.register_initializer(
                Value(name=name, shape=ir.Shape([]), type=ir.TensorType(ir.DataType.FLOAT), const_value=tensor)
            )
        return self._graph.initializers[name]

    def _node(
        self,
        kind: str,
        inputs: list[Value],
        name: str,
        dtype: ir.DataType,
        after: ir.Node | None,
        before: ir.Node,
        **attributes: int,
    ) -> Value:
        output = Value(name=name, shape=inputs[0].shape, type=ir.TensorType(dtype))
        node = ir.node(kind, inputs, attributes or None, outputs=[output], name=name)
        if after is None:
            self._graph.insert_before(before, node)
        else:
            self._graph.insert_after(after, node)
        return output

    def _end_single(self, index: int, output: Value) -> None:
        """An output keeps its name and is float32."""
        name, output.name = output.name, f"{output.name}.half"
        node = ir.node("Cast", [output], {"to": ir.DataType.FLOAT}, name=f"{name}.single")
        single = node.outputs[0]
        single.name, single.shape, single.type = name, output.shape, ir.TensorType(ir.DataType.FLOAT)
        self._graph.append(node)
        self._graph.outputs[index] = single


def rounded(weight: NDArray[np.float32]) -> NDArray[np.float16]:
    """float32 → float16; what stands for minus infinity stays within range."""
    return np.clip(weight, -MASKED, MASKED).astype(np.float16)
