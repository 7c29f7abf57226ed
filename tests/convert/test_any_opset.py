"""How much each token counts in the pooling that is added to ready-made graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from sekisho.contract import Pooling
from sekisho.convert.any_opset import Extension, pool

_MASK = np.array([[1, 1, 1, 1, 0], [0, 0, 1, 1, 0]], np.int32)


def pooled(mask: np.ndarray[Any, np.dtype[np.int32]], how: Pooling, opset: int) -> np.ndarray[Any, Any]:
    """Vectors of tokens of which each is its own unit vector, so that they show the weights."""
    rows, length = mask.shape
    given = ir.Value(name="mask", shape=ir.Shape(mask.shape), type=ir.TensorType(ir.DataType.INT32))
    graph = ir.Graph([given], [], nodes=[], opset_imports={"": opset}, name="pooling")
    extension = Extension(graph, opset)
    hidden = extension.constant(np.broadcast_to(np.eye(length, dtype=np.float32), (rows, length, length)))
    graph.outputs.append(pool(extension, hidden, given, how, after_prompt=True))
    model = ir.to_proto(ir.Model(graph, ir_version=8)).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    answer: np.ndarray[Any, Any] = session.run(None, {"mask": mask})[0]
    return answer


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize(
    ("how", "weights"),
    [
        ("mean", [[0.25, 0.25, 0.25, 0.25, 0], [0, 0, 0.5, 0.5, 0]]),
        ("cls", [[1, 0, 0, 0, 0], [0, 0, 1, 0, 0]]),
        ("last", [[0, 0, 0, 1, 0], [0, 0, 0, 1, 0]]),
        # From the text's first token, as sentence-transformers counts, whatever the prompt takes.
        ("weighted_mean", [[0.1, 0.2, 0.3, 0.4, 0], [0, 0, 3 / 7, 4 / 7, 0]]),
    ],
)
def test_the_weights_of_tokens_after_a_prompt(how: Pooling, weights: list[list[float]], opset: int) -> None:
    np.testing.assert_allclose(pooled(_MASK, how, opset), weights, rtol=1e-6)


def test_texts_of_more_tokens_than_bfloat16_counts() -> None:
    mask = np.ones((1, 600), np.int32)
    assert pooled(mask, "last", 17)[0].argmax() == 599
    np.testing.assert_allclose(pooled(mask, "weighted_mean", 17)[0], np.arange(1, 601) / 180300, rtol=1e-5)
