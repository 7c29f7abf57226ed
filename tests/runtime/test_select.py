"""Which engine, which number format, how many threads: a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sekisho.contract import Precision
from sekisho.errors import InternalError
from sekisho.runtime.machine import Machine
from sekisho.runtime.select import choose, plan_lanes
from sekisho.settings import EngineName

BF16 = Machine(2, "x86_64", "new", frozenset({"FP32", "BF16", "INT8"}), "1.23", "2025.4")
OLD = replace(BF16, processor="old", formats=frozenset({"FP32", "INT8"}))
BARE = replace(BF16, processor="bare", formats=frozenset(), openvino=None)


@pytest.mark.parametrize(
    ("machine", "engine", "precision", "expected", "why"),
    [
        (BF16, "auto", "auto", ("openvino", "bf16"), "the CPU computes in bfloat16"),
        (BF16, "auto", "bf16", ("openvino", "bf16"), "the CPU computes in bfloat16"),
        (BF16, "auto", "fp32", ("onnxruntime", "fp32"), "models.yaml asks for fp32"),
        (BF16, "openvino", "auto", ("openvino", "bf16"), "the CPU computes in bfloat16"),
        (BF16, "openvino", "bf16", ("openvino", "bf16"), "the CPU computes in bfloat16"),
        (BF16, "openvino", "fp32", ("openvino", "fp32"), "models.yaml asks for fp32"),
        (BF16, "onnxruntime", "auto", ("onnxruntime", "fp32"), "SEKISHO_ENGINE asks for ONNX Runtime"),
        (BF16, "onnxruntime", "bf16", ("onnxruntime", "fp32"), "SEKISHO_ENGINE asks for ONNX Runtime"),
        (BF16, "onnxruntime", "fp32", ("onnxruntime", "fp32"), "models.yaml asks for fp32"),
        (OLD, "auto", "auto", ("onnxruntime", "fp32"), "no bfloat16 arithmetic"),
        (OLD, "auto", "bf16", ("onnxruntime", "fp32"), "no bfloat16 arithmetic"),
        (OLD, "auto", "fp32", ("onnxruntime", "fp32"), "models.yaml asks for fp32"),
        (OLD, "openvino", "auto", ("openvino", "fp32"), "no bfloat16 arithmetic"),
        (OLD, "onnxruntime", "auto", ("onnxruntime", "fp32"), "SEKISHO_ENGINE asks for ONNX Runtime"),
        (BARE, "auto", "auto", ("onnxruntime", "fp32"), "OpenVINO is not installed"),
        (BARE, "auto", "bf16", ("onnxruntime", "fp32"), "OpenVINO is not installed"),
        (BARE, "onnxruntime", "auto", ("onnxruntime", "fp32"), "SEKISHO_ENGINE asks for ONNX Runtime"),
    ],
)
def test_the_table_of_choices(
    machine: Machine, engine: EngineName, precision: Precision, expected: tuple[str, str], why: str
) -> None:
    choice = choose(machine, engine, precision)
    assert (choice.engine, choice.precision) == expected
    assert why in choice.reason
    assert (choice.lanes, choice.threads) == (2, 1)


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_an_engine_that_is_not_installed_says_how_to_install_it(precision: Precision) -> None:
    with pytest.raises(InternalError, match=r"pip install 'sekisho\[openvino\]'"):
        choose(BARE, "openvino", precision)


@pytest.mark.parametrize("machine", [BF16, OLD, BARE])
@pytest.mark.parametrize(("threads", "plan"), [(None, (2, 1)), (1, (1, 1)), (3, (3, 1)), (16, (4, 4))])
def test_threads_asked_for_go_before_the_machines_cores(
    machine: Machine, threads: int | None, plan: tuple[int, int]
) -> None:
    choice = choose(machine, "auto", "auto", threads)
    assert (choice.lanes, choice.threads) == plan


@pytest.mark.parametrize(
    ("cores", "plan"),
    [(1, (1, 1)), (2, (2, 1)), (4, (4, 1)), (5, (1, 4)), (7, (1, 4)), (8, (2, 4)), (16, (4, 4)), (64, (16, 4))],
)
def test_lanes_and_threads(cores: int, plan: tuple[int, int]) -> None:
    assert plan_lanes(cores) == plan


def test_no_plan_asks_for_more_than_the_cores() -> None:
    for cores in range(1, 257):
        lanes, threads = plan_lanes(cores)
        assert lanes >= 1
        assert threads >= 1
        assert lanes * threads <= cores
