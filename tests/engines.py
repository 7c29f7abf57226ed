"""The ways a graph can be run on this machine, for tests that hold for each of them."""

from __future__ import annotations

import pytest

from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import Choice

ONNX_FP32 = Choice("onnxruntime", "fp32", lanes=1, threads=2, reason="test")
OPENVINO_FP32 = Choice("openvino", "fp32", lanes=1, threads=2, reason="test")
OPENVINO_BF16 = Choice("openvino", "bf16", lanes=1, threads=2, reason="test")


def _param(choice: Choice) -> object:
    missing = choice.precision == "bf16" and "BF16" not in this_machine().formats
    marks = [pytest.mark.skip("this CPU does not compute in bfloat16")] if missing else []
    return pytest.param(choice, id=f"{choice.engine}-{choice.precision}", marks=marks)


FP32 = pytest.mark.parametrize("choice", [_param(ONNX_FP32), _param(OPENVINO_FP32)])
BF16 = pytest.mark.parametrize("choice", [_param(OPENVINO_BF16)])
EVERY = pytest.mark.parametrize("choice", [_param(ONNX_FP32), _param(OPENVINO_FP32), _param(OPENVINO_BF16)])
