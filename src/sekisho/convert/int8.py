"""A graph's products in int8, fitted to what they are given over the calibration texts.

*Products of a norm* (queries, keys, the first of the feed-forward layer) are static: one scale for all tokens, since a
norm gives them all one length. What a norm gives is moved and stretched channel by channel so that this scale suits
them all (`rounding.level`), which the weights and a bias take back; then it is rounded to 8 bits, once for all that
read it. Weights have a scale a column. Written as `QuantizeLinear` and `DequantizeLinear`, which OpenVINO and ONNX
Runtime multiply in int8.

*All others* (attention's output, the second of the feed-forward layer, heads) are given values whose size differs from
token to token by orders of magnitude. Their weights have a scale for each 64 input channels of a column
(`DequantizeLinear` with `block_size`), and OpenVINO rounds what they are given as it comes, with a scale for each token
and 64 channels ("dynamic quantisation", `DYNAMIC_QUANTIZATION_GROUP_SIZE`).

Nothing of a token depends on its neighbours in a batch. By measurement (docs/performance.md) attention's values stay
float, a twelfth of the arithmetic and a fourth of the error, and so do tables that are looked up and heads of a few
columns. Values packed beside queries and keys, as in ModernBERT and gte, are not unpacked.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE
from sekisho.convert.build import save
from sekisho.convert.observed import Observed, observe
from sekisho.convert.products import Product, is_normed, products
from sekisho.convert.proving import Run
from sekisho.convert.rounding import GROUP, Floats, Rounded, fitted, level, nearest
from sekisho.errors import ConversionFailed

#: Above it the table of how channels go together (float64, channels²) is no longer small beside the weights.
_MOST_FITTED: Final = 8192
#: Of a static product's input, whose levels are within ±1: 255 steps, zero in the middle.
_STEP, _ZERO = np.float32(1 / 127), np.uint8(128)

#: Told the products done and all of them.
Progress = Callable[[int, int], None]
Way = Literal["static", "dynamic", "float"]


@dataclass(frozen=True)
class Recipe:
    """What is made of each kind of product. The default is what is served; the others are there to be compared.

    normed: products of a norm. others: all others. values: attention's values too. fit: weights are rounded so that
    the products stay, not each to its nearest.
    """

    normed: Way = "static"
    others: Way = "dynamic"
    values: bool = False
    fit: bool = True

    def way(self, product: Product) -> Way:
        if product.is_value and not self.values:
            return "float"
        return self.normed if is_normed(product.given) else self.others


def quantise(directory: Path, run: Run, progress: Progress | None = None, recipe: Recipe | None = None) -> int:
    """Write the graph of `directory` anew with int8 products; how many there are.

    Raises ConversionFailed where there is nothing to quantise, OSError where the disk fails.
    """
    recipe = recipe or Recipe()
    model = ir.load(directory / GRAPH_FILE)
    chosen = [product for product in products(model.graph) if recipe.way(product) != "float"]
    if not chosen:
        raise ConversionFailed("`precision: int8`: this model has no products with weights; leave `precision` at auto")
    done = 0
    given = {str(product.given.name): product.shape[0] for product in chosen}
    for part in observe(directory, given, run):
        for name, seen in part.items():
            readers = [product for product in chosen if product.given.name == name]
            for product in _replaced(model.graph, readers, seen, recipe):
                done += 1
                if progress is not None:
                    progress(done, len(chosen))
                del model.graph.initializers[product.name]
    _write(model, directory)
    return done


def _write(model: ir.Model, directory: Path) -> None:
    """Beside the old graph first, whose weights are mapped."""
    made = directory / ".int8"
    made.mkdir()
    save(model, made, None)
    for name in (WEIGHTS_FILE, GRAPH_FILE):
        os.replace(made / name, directory / name)
    shutil.rmtree(made)


def _replaced(graph: ir.Graph, readers: Sequence[Product], seen: Observed, recipe: Recipe) -> Iterator[Product]:
    """All that read one value, each as it is done."""
    for way, make in (("static", _static), ("dynamic", _dynamic)):
        chosen = [product for product in readers if recipe.way(product) == way]
        if chosen:
            yield from make(graph, chosen, seen, fit=recipe.fit)


def _static(graph: ir.Graph, readers: Sequence[Product], seen: Observed, *, fit: bool) -> Iterator[Product]:
    weights = [_array(product.weight) for product in readers]
    middle, reach = level(seen.lowest, seen.highest, np.hstack(weights))
    rounded = _rounded_input(graph, readers[0], middle, reach)
    tokens = (seen.tokens - middle) / reach
    for product, weight in zip(readers, weights, strict=True):
        _hold(graph, product, *_int8(weight * reach[:, None], tokens, None, fit=fit))
        product.node.replace_input_with(0, rounded)
        _add_bias(graph, product, middle @ weight)
        yield product


def _rounded_input(graph: ir.Graph, first: Product, middle: Floats, reach: Floats) -> ir.Value:
    """What the products of one value read in its place, from just before the first of them."""
    name = str(first.given.name)
    stretch = _constant(graph, f"{name}.stretch", np.reciprocal(reach))
    move = _constant(graph, f"{name}.move", -middle / reach)
    step, zero = _constant(graph, f"{name}.step", np.array(_STEP)), _constant(graph, f"{name}.zero", np.array(_ZERO))
    value = _before(graph, first.node, "Mul", [first.given, stretch])
    value = _before(graph, first.node, "Add", [value, move])
    value = _before(graph, first.node, "QuantizeLinear", [value, step, zero])
    return _before(graph, first.node, "DequantizeLinear", [value, step, zero])


def _dynamic(graph: ir.Graph, readers: Sequence[Product], seen: Observed, *, fit: bool) -> Iterator[Product]:
    for product in readers:
        weight = _array(product.weight)
        group = None if len(weight) % GROUP else GROUP  # then a scale a column: products of such widths are small
        _hold(graph, product, *_int8(weight, seen.tokens, group, fit=fit))
        yield product


def _int8(weight: Floats, tokens: Floats, group: int | None, *, fit: bool) -> Rounded:
    if fit and len(weight) <= _MOST_FITTED:
        return fitted(weight, tokens, group)
    return nearest(weight, group)


def _hold(graph: ir.Graph, product: Product, rounded: NDArray[np.int8], scales: Floats) -> None:
    """Let a product read int8 times scale in place of its weight."""
    whole = len(scales) == 1
    parts = [
        _constant(graph, f"{product.name}.int8", rounded),
        _constant(graph, f"{product.name}.scale", scales[0] if whole else scales),
    ]
    attributes = {"axis": 1} if whole else {"axis": 0, "block_size": GROUP}
    product.node.replace_input_with(1, _before(graph, product.node, "DequantizeLinear", parts, attributes))


def _add_bias(graph: ir.Graph, product: Product, more: Floats) -> None:
    """Added to the bias that a product has, or as one."""
    output = product.node.outputs[0]
    uses = list(output.uses())
    name = f"{product.name}.middle"
    if len(uses) == 1 and uses[0].node.op_type == "Add":
        place = 1 - uses[0].idx
        bias = uses[0].node.inputs[place]
        if bias is not None and bias.const_value is not None and bias.const_value.shape.rank() == 1:
            uses[0].node.replace_input_with(place, _constant(graph, name, _array(bias) + more))
            if not bias.uses():
                del graph.initializers[str(bias.name)]
            return
    node = ir.node("Add", [output, _constant(graph, name, more)])
    graph.insert_after(product.node, node)
    for use in uses:
        use.node.replace_input_with(use.idx, node.outputs[0])


def _before(
    graph: ir.Graph, place: ir.Node, kind: str, inputs: Sequence[ir.Value], attributes: dict[str, int] | None = None
) -> ir.Value:
    node = ir.node(kind, inputs, attributes)
    graph.insert_before(place, node)
    return node.outputs[0]


def _array(value: ir.Value) -> Floats:
    assert value.const_value is not None  # noqa: S101 - only weights and biases come here
    array: Floats = value.const_value.numpy()
    return array


def _constant(graph: ir.Graph, name: str, array: NDArray[np.int8] | NDArray[np.uint8] | Floats) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    graph.register_initializer(value)
    return value
