"""A ready-made ONNX file as a graph that can be changed: read with care, and what it is made of.

Nothing of it is trusted but its bytes, which the lock vouches for: an exporter's mistake is told, not served.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx_ir as ir

from sekisho.contract import Numbers
from sekisho.errors import ConversionFailed

#: The oldest operators that what is added to a graph can be written in (CumSum).
OLDEST_OPSET = 11
#: ONNX's own, and the ones that ONNX Runtime has built in. Any other needs a library that would be code.
_PLAIN = frozenset({"", "ai.onnx"})
_CONTRIB = "com.microsoft"

#: Find the scale of what they quantise in the batch they are given.
_DYNAMIC = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
#: Work with scales that are stored in the file.
_QUANTISED = frozenset(
    {
        "QuantizeLinear", "DequantizeLinear", "MatMulInteger", "QLinearMatMul", "QGemm", "QAttention",
        "MatMulIntegerToFloat", "MatMulNBits", "MatMulBnb4", "GatherBlockQuantized", "QEmbedLayerNormalization",
    }
)  # fmt: skip

#: Operators through which token ids come to their table unchanged.
_PASSING = frozenset({"Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Gather"})
#: Operators that look ids up: where their ids and their table are among the inputs.
_LOOKUPS = {
    "Gather": (1, 0), "GatherBlockQuantized": (1, 0), "EmbedLayerNormalization": (0, 2),
    "QEmbedLayerNormalization": (0, 2),
}  # fmt: skip


@dataclass(frozen=True)
class ReadyGraph:
    """name: the file as the registry writes it, for messages. opset: the version of ONNX's own operators.

    contrib: whether it has operators of ONNX Runtime's own.
    """

    model: ir.Model
    name: str
    opset: int
    numbers: Numbers
    contrib: bool


def open_graph(directory: Path, name: str) -> ReadyGraph:
    """Read `directory/name`. Weights outside the file stay there until they are written.

    Raises ConversionFailed where it is no ONNX file, names data that is not there, or needs operators of a library.
    """
    path = directory / name
    try:
        model = ir.load(path, format="protobuf")
    except OSError as error:
        raise ConversionFailed(f"{name} cannot be read: {error.strerror}") from None
    except Exception as error:  # whatever protobuf and the reader meet in bytes that are something else
        raise ConversionFailed(f"{name} is no readable ONNX file: {error}") from None
    _resolve_data(model, path, name)
    _drop_dropout(model.graph)
    domains = _domains(model)
    foreign = sorted({node.domain for node in _nodes(model) if not _known(model, node)})
    if foreign:
        raise ConversionFailed(
            f"{name} needs the operators of {', '.join(foreign)}, which are a library's code; those of ONNX and of "
            f"{_CONTRIB} are run"
        )
    opset = model.graph.opset_imports.get("", model.graph.opset_imports.get("ai.onnx", 0))
    if opset < OLDEST_OPSET:
        raise ConversionFailed(f"{name} is of opset {opset}; {OLDEST_OPSET} and newer are read: export it anew")
    for unused in set(model.graph.opset_imports) - domains - _PLAIN:
        del model.graph.opset_imports[unused]
    # Before version 4 initializers had to be inputs too.
    for value in [value for value in model.graph.inputs if value.name in model.graph.initializers]:
        model.graph.inputs.remove(value)
    model.ir_version = max(model.ir_version, 8)
    return ReadyGraph(model, name, opset, _numbers(model), _CONTRIB in domains)


def table_rows(ids: ir.Value) -> int | None:
    """Rows of the table in which the graph looks up these ids; None where it does so in a way that is not known."""
    for node, index in ids.uses():
        if node.op_type in _LOOKUPS and _LOOKUPS[node.op_type][0] == index:
            rows = _rows(node.inputs[_LOOKUPS[node.op_type][1]])
        else:
            rows = table_rows(node.outputs[0]) if node.op_type in _PASSING and index == 0 else None
        if rows is not None:
            return rows
    return None


def _rows(table: ir.Value | None) -> int | None:
    if table is None:
        return None
    if table.const_value is not None:
        shape = table.const_value.shape.numpy()
        return shape[0] if len(shape) == 2 else None
    producer = table.producer()
    if producer is not None and producer.op_type in {"DequantizeLinear", "Cast"}:
        return _rows(producer.inputs[0])
    return None


def count_parameters(model: ir.Model) -> int:
    """Numbers in the initializers, without those that are indices and shapes."""
    return sum(
        value.const_value.size
        for value in model.graph.initializers.values()
        if value.const_value is not None and value.const_value.dtype not in {ir.DataType.INT64, ir.DataType.BOOL}
    )


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _known(model: ir.Model, node: ir.Node) -> bool:
    return node.domain in _PLAIN or node.domain == _CONTRIB or node.op_identifier() in model.functions


def _domains(model: ir.Model) -> set[str]:
    return {node.domain for node in _nodes(model)}


def _numbers(model: ir.Model) -> Numbers:
    kinds = {node.op_type for node in _nodes(model)}
    if kinds & _DYNAMIC:
        return "dynamic_int8"
    return "int8" if kinds & _QUANTISED else "float"


def _drop_dropout(graph: ir.Graph) -> None:
    """Some exporters leave it in, switched on, for the engine to leave out: nothing is dropped where a model serves."""
    for node in [node for node in graph if node.op_type == "Dropout" and not node.domain]:
        kept = node.inputs[0]
        if kept is not None and not any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
            node.outputs[0].replace_all_uses_with(kept, replace_graph_outputs=True)
            graph.remove(node, safe=True)


def _resolve_data(model: ir.Model, path: Path, name: str) -> None:
    """Lead each tensor that lies outside the file to the verified file that is meant; none leads anywhere else.

    Constants become initializers, the only tensors that are written outside the graph again.
    """
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _resolved(value.const_value, path, name)
    for node in list(_nodes(model)):
        for key, attribute in list(node.attributes.items()):
            if isinstance(attribute.value, ir.ExternalTensor):
                tensor = _resolved(attribute.value, path, name)
                if node.op_type == "Constant" and node.graph is model.graph:
                    _lift(model.graph, node, tensor)
                else:
                    node.attributes[key] = ir.Attr(key, attribute.type, ir.tensor(tensor.numpy(), name=tensor.name))


def _lift(graph: ir.Graph, node: ir.Node, tensor: ir.ExternalTensor) -> None:
    old = node.outputs[0]
    value = ir.Value(name=old.name, shape=ir.Shape(tensor.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    graph.register_initializer(value)


def _resolved(tensor: ir.ExternalTensor, path: Path, name: str) -> ir.ExternalTensor:
    location = PurePosixPath(str(tensor.location))
    file = path.parent / location
    if location.is_absolute() or ".." in location.parts or not location.parts or not file.is_file():
        raise ConversionFailed(f"{name} keeps {tensor.name!r} in {str(location)!r}, which is no file beside it")
    file = file.resolve()
    start, size = tensor.offset or 0, tensor.nbytes if tensor.length is None else tensor.length
    if start < 0 or size != tensor.nbytes or start + size > file.stat().st_size:
        raise ConversionFailed(
            f"{name} keeps {tensor.name!r} in bytes {start:,} to {start + size:,} of {str(location)!r}, which has "
            f"{file.stat().st_size:,}: they are of two exports, or one is cut short"
        )
    return ir.ExternalTensor(
        file.name, tensor.offset, tensor.length, tensor.dtype, shape=tensor.shape, name=tensor.name or "",
        base_dir=file.parent,
    )  # fmt: skip
