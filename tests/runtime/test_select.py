"""Which engine, which number format, how many threads: a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sekisho.contract import Contract, Numbers, Precision
from sekisho.errors import InternalError
from sekisho.runtime.device import CPU, Device
from sekisho.runtime.machine import Machine
from sekisho.runtime.nvidia import Card
from sekisho.runtime.placing import ON_CPU, Placement
from sekisho.runtime.select import DEVICE_LANES, Choice, batch_tokens, choose, halves, plan_lanes
from sekisho.settings import EngineName

BF16 = Machine(2, "x86_64", "new", frozenset({"FP32", "BF16", "INT8"}), "1.23", "2025.4", frozenset({"avx512_vnni"}))
OLD = replace(BF16, processor="old", formats=frozenset({"FP32", "INT8"}))
NO_VNNI = replace(OLD, processor="older", flags=frozenset({"avx2"}))
FP16 = replace(BF16, processor="fp16", formats=frozenset({"FP32", "BF16", "FP16", "INT8"}))
BARE = replace(BF16, processor="bare", formats=frozenset(), openvino=None)
#: ARM as Linux tells of it: Graviton2 and 3, and an Apple, of which no flag is read.
GRAVITON2 = Machine(
    2, "aarch64", "g2", frozenset({"FP32", "FP16", "INT8"}), "1.31", "2026.4", frozenset({"asimddp", "fphp"})
)
GRAVITON3 = replace(GRAVITON2, processor="g3", flags=GRAVITON2.flags | {"bf16", "i8mm", "sve"})
APPLE = replace(GRAVITON2, architecture="arm64", processor="apple", flags=frozenset())

HOPPER = Placement(Device("cuda"), "cuda can be used", Card("H200", (9, 0), 141 << 30))
PASCAL = Placement(Device("cuda", 1), "SEKISHO_DEVICE asks for cuda:1", Card("GTX 1080", (6, 1), 8 << 30))
AMD = Placement(Device("migraphx"), "migraphx can be used")
APPLES = Placement(Device("coreml"), "SEKISHO_DEVICE asks for coreml")


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
        (FP16, "auto", "fp16", ("openvino", "fp16"), "models.yaml asks for fp16"),
        (FP16, "openvino", "fp16", ("openvino", "fp16"), "models.yaml asks for fp16"),
        (FP16, "onnxruntime", "fp16", ("onnxruntime", "fp32"), "SEKISHO_ENGINE asks for ONNX Runtime"),
        (FP16, "auto", "auto", ("openvino", "bf16"), "the CPU computes in bfloat16"),
        (BF16, "auto", "fp16", ("openvino", "bf16"), "the CPU computes in bfloat16"),
        (OLD, "auto", "fp16", ("onnxruntime", "fp32"), "no bfloat16 arithmetic"),
        (BARE, "auto", "fp16", ("onnxruntime", "fp32"), "OpenVINO is not installed"),
        (BF16, "auto", "int8", ("openvino", "int8"), "or found for each token"),
        (OLD, "auto", "int8", ("openvino", "int8"), "or found for each token"),
        (NO_VNNI, "auto", "int8", ("openvino", "int8"), "no int8 products (VNNI)"),
        (OLD, "openvino", "int8", ("openvino", "int8"), "or found for each token"),
        (BF16, "onnxruntime", "int8", ("onnxruntime", "int8"), "SEKISHO_ENGINE asks for ONNX Runtime, on which all"),
        (BARE, "auto", "int8", ("onnxruntime", "int8"), "OpenVINO is not installed, on which all of int8 runs"),
        (NO_VNNI, "onnxruntime", "int8", ("onnxruntime", "fp32"), "its rounded weights are computed with in fp32"),
        (GRAVITON3, "auto", "auto", ("onnxruntime", "bf16"), "the CPU multiplies bfloat16 (ARM)"),
        (GRAVITON3, "onnxruntime", "auto", ("onnxruntime", "bf16"), "the CPU multiplies bfloat16 (ARM)"),
        (GRAVITON3, "auto", "bf16", ("onnxruntime", "bf16"), "the CPU multiplies bfloat16 (ARM)"),
        (GRAVITON3, "auto", "fp32", ("onnxruntime", "fp32"), "models.yaml asks for fp32"),
        (GRAVITON3, "auto", "fp16", ("openvino", "fp16"), "models.yaml asks for fp16"),
        (GRAVITON3, "openvino", "auto", ("openvino", "fp32"), "no bfloat16 arithmetic"),
        (GRAVITON2, "auto", "auto", ("onnxruntime", "fp32"), "no bfloat16 arithmetic"),
        (GRAVITON2, "auto", "bf16", ("onnxruntime", "fp32"), "no bfloat16 arithmetic"),
        (APPLE, "auto", "auto", ("onnxruntime", "fp32"), "no bfloat16 arithmetic"),
        (APPLE, "auto", "int8", ("openvino", "int8"), "no int8 products (VNNI)"),
    ],
)
def test_the_table_of_choices(
    machine: Machine, engine: EngineName, precision: Precision, expected: tuple[str, str], why: str
) -> None:
    choice = choose(machine, engine, precision)
    assert (choice.engine, choice.precision) == expected
    assert why in choice.reason
    assert (choice.lanes, choice.threads) == (2, 1)


def contract(numbers: Numbers, graph: str | None, *, only: bool = False) -> Contract:
    """What a prepared model computes with, and which ready-made file it came from."""
    return Contract(
        "embedding", "bert", ("input_ids",), ("embedding",), 8, 8, 0, 9, "mean", True, 1, numbers=numbers, graph=graph,
        engine="onnxruntime" if only else None,
    )  # fmt: skip


OWN, STATIC = contract("int8", None), contract("int8", "model_qint8.onnx")
DYNAMIC = contract("dynamic_int8", "model_quantized.onnx", only=True)
OPERATORS = contract("float", "model_O4.onnx", only=True)


@pytest.mark.parametrize(
    ("machine", "engine", "precision", "made", "expected", "why"),
    [
        (BF16, "auto", "int8", OWN, ("openvino", "int8", "bf16"), "by itself; bf16 elsewhere"),
        (OLD, "auto", "int8", OWN, ("openvino", "int8", "fp32"), "by itself; fp32 elsewhere"),
        (BARE, "auto", "int8", OWN, ("onnxruntime", "int8", "fp32"), "its calibrated products are int8"),
        (BF16, "onnxruntime", "int8", OWN, ("onnxruntime", "int8", "fp32"), "its calibrated products are int8"),
        (NO_VNNI, "onnxruntime", "int8", OWN, ("onnxruntime", "fp32", "fp32"), "computed with in fp32"),
        (BF16, "auto", "int8", STATIC, ("openvino", "int8", "bf16"), "model_qint8.onnx is int8; elsewhere: the CPU"),
        (BF16, "auto", "fp32", STATIC, ("onnxruntime", "int8", "fp32"), "int8; elsewhere: models.yaml asks"),
        (OLD, "auto", "int8", STATIC, ("onnxruntime", "int8", "fp32"), "model_qint8.onnx is int8; elsewhere: the CPU"),
        (BARE, "auto", "auto", STATIC, ("onnxruntime", "int8", "fp32"), "OpenVINO is not installed"),
        (BF16, "openvino", "int8", DYNAMIC, ("onnxruntime", "int8", "fp32"), "in each batch"),
        (BF16, "openvino", "auto", OPERATORS, ("onnxruntime", "fp32", "fp32"), "only ONNX Runtime knows"),
        (BF16, "auto", "auto", contract("float", "model.onnx"), ("openvino", "bf16", "bf16"), "the CPU computes in"),
    ],
)  # fmt: skip
def test_what_a_graph_holds_decides_too(
    machine: Machine, engine: EngineName, precision: Precision, made: Contract, expected: tuple[str, str, str], why: str
) -> None:
    choice = choose(machine, engine, precision, None, made)
    assert (choice.engine, choice.precision, choice.floats) == expected
    assert why in choice.reason


def test_only_int8_has_a_rest() -> None:
    assert Choice("openvino", "bf16", 1, 1, "", "fp32").floats == "bf16"
    assert Choice("openvino", "int8", 1, 1, "", "bf16").floats == "bf16"


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16", "int8"])
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


HALF = contract("half", None)
FLOAT = contract("float", None)
UNFIT = replace(FLOAT, origins={"half": "values of Gemma 3 leave fp16's range"})


@pytest.mark.parametrize(
    ("where", "precision", "made", "expected", "why"),
    [
        (HOPPER, "auto", None, "fp16", "fp16 products"),
        (HOPPER, "fp16", None, "fp16", "fp16 products"),
        (HOPPER, "fp32", None, "fp32", "as models.yaml asks for fp32"),
        (HOPPER, "bf16", None, "fp32", "as models.yaml asks for bf16"),
        (HOPPER, "int8", None, "fp32", "int8 runs on OpenVINO"),
        (HOPPER, "auto", HALF, "fp16", "fp16 products"),
        (HOPPER, "auto", FLOAT, "fp32", "in which the device is at its best"),
        (HOPPER, "auto", UNFIT, "fp32", "values of Gemma 3 leave fp16's range"),
        (HOPPER, "auto", contract("float", "model.onnx"), "fp32", "as model.onnx is"),
        (HOPPER, "int8", OWN, "fp32", "computed with in fp32"),
        (HOPPER, "auto", OPERATORS, "fp32", "as model_O4.onnx is"),
        (PASCAL, "auto", None, "fp32", "in which the device is at its best"),
        (PASCAL, "auto", FLOAT, "fp32", "in which the device is at its best"),
        (PASCAL, "fp16", FLOAT, "fp32", "in which the device is at its best"),
        (AMD, "auto", None, "fp32", "in which the device is at its best"),
        (AMD, "fp16", None, "fp16", "fp16 products"),
        (AMD, "fp16", FLOAT, "fp16", "fp16 products"),
        (APPLES, "auto", FLOAT, "fp32", "in which the device is at its best"),
        (APPLES, "fp16", FLOAT, "fp16", "fp16 products"),
    ],
)
@pytest.mark.parametrize("machine", [BF16, BARE, GRAVITON3])
@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_a_device_goes_before_the_cpu(
    machine: Machine, engine: EngineName, where: Placement, precision: Precision, made: Contract | None, expected: str,
    why: str,
) -> None:  # fmt: skip
    choice = choose(machine, engine, precision, None, made, where)
    assert (choice.engine, choice.device, choice.precision) == ("onnxruntime", where.device, expected)
    assert (choice.lanes, choice.threads) == (DEVICE_LANES, 1)
    assert choice.reason.startswith(f"{where.reason}; ")
    assert why in choice.reason


@pytest.mark.parametrize("where", [HOPPER, PASCAL, AMD, APPLES])
@pytest.mark.parametrize("made", [STATIC, DYNAMIC])
def test_graphs_of_whole_numbers_stay_on_the_cpu(where: Placement, made: Contract) -> None:
    choice = choose(BF16, "auto", "int8", None, made, where)
    assert choice == replace(choose(BF16, "auto", "int8", None, made), reason=choice.reason)
    assert choice.device == CPU
    assert f"{where.device} has no kernels for it" in choice.reason


def test_what_was_prepared_for_a_card_runs_on_a_cpu_too() -> None:
    choice = choose(BF16, "auto", "auto", None, HALF)
    assert (choice.engine, choice.precision, choice.device) == ("onnxruntime", "fp16", CPU)
    assert "prepared in fp16, for a card" in choice.reason


@pytest.mark.parametrize("where", [ON_CPU, HOPPER, PASCAL, AMD, APPLES])
@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16", "int8"])
def test_a_model_is_prepared_in_fp16_where_it_then_runs_in_it(where: Placement, precision: Precision) -> None:
    wanted = halves(precision, where)
    assert wanted == (where == HOPPER and precision in {"auto", "fp16"})
    if wanted:
        assert choose(BF16, "auto", precision, None, HALF, where).precision == "fp16"


@pytest.mark.parametrize(
    ("asked", "device", "tokens"),
    [
        (None, CPU, 1024), (None, Device("cuda", 1), 16_384), (None, Device("migraphx"), 16_384),
        (None, Device("coreml"), 1024), (64, Device("cuda"), 64), (64, CPU, 64),
    ],
)  # fmt: skip
def test_tokens_in_a_batch(asked: int | None, device: Device, tokens: int) -> None:
    assert batch_tokens(asked, device) == tokens
