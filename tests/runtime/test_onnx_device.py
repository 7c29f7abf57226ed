"""ONNX Runtime through bindings, on the CPU: the path a card takes, with the one device that is always there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from sekisho.arrays import pad
from sekisho.catalog.prepare import Prepared
from sekisho.contract import Contract, Rows, Tokens
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.convert.half import halve
from sekisho.errors import InternalError
from sekisho.runtime.device import CPU, Device, Kind
from sekisho.runtime.load import load_model
from sekisho.runtime.model import LocalModel
from sekisho.runtime.onnx_device import OnnxDeviceSession, check_providers, provider_options, session_options
from sekisho.runtime.shapes import few_sizes, fitted, shrink, stretch
from sekisho.runtime.tokenizer import TextTokenizer
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder
from tests.checkpoints_m3 import TINY_M3S, write_tiny_m3
from tests.engines import ONNX_FP32

MEAN = "tiny-bert-mean"
BATCH = [Tokens([2, *range(30, 30 + length), 3]) for length in (5, 1, 17, 9)]


def device_model(directory: Path, contract: Contract, device: Device = CPU, *, half: bool = False) -> LocalModel:
    session = OnnxDeviceSession(directory, contract, device, 2, half=half)
    return LocalModel(contract, TextTokenizer(directory, contract), session)


def test_bound_runs_give_what_plain_ones_give(tiny: dict[str, Prepared]) -> None:
    prepared = tiny[MEAN]
    plain = load_model(prepared.directory, prepared.contract, ONNX_FP32)
    bound = device_model(prepared.directory, prepared.contract)
    assert bound.lanes == 2
    for one, other in zip(plain.run(0, BATCH), bound.run(0, BATCH), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)
        assert other.dtype == np.float32


def as_large_as(kind: Kind, session: OnnxDeviceSession, contract: Contract, names: Sequence[str]) -> list[Rows]:
    """What a session of that device does to a batch, computed by the CPU."""
    inputs = pad(BATCH[:3], contract.pad_id, contract.inputs)
    rows, length = inputs["input_ids"].shape
    full = stretch(inputs, *fitted(kind, rows, length, contract.max_tokens), contract.pad_id)
    if kind == "migraphx":
        assert full["input_ids"].shape != (rows, length)
        full = few_sizes(kind, full)
        assert len(full["places"]) in {1 << power for power in range(12)}
    return shrink(dict(zip(names, session.run(0, full, names), strict=True)), rows, length)


@pytest.mark.parametrize("kind", ["cuda", "migraphx"])
@pytest.mark.parametrize("name", ["tiny-bert-mean", "tiny-bert-cls", "tiny-bert-max"])
def test_the_sizes_of_a_device_change_no_row(tiny: dict[str, Prepared], name: str, kind: Kind) -> None:
    prepared = tiny[name]
    session = OnnxDeviceSession(prepared.directory, prepared.contract, CPU, 1)
    expected = session.run(0, pad(BATCH[:3], prepared.contract.pad_id, prepared.contract.inputs))
    given = as_large_as(kind, session, prepared.contract, prepared.contract.outputs)
    for one, other in zip(expected, given, strict=True):
        assert other.shape == one.shape
        np.testing.assert_allclose(other, one, atol=1e-6)


def test_rows_belong_to_their_caller_and_lanes_do_not_mix(tiny: dict[str, Prepared]) -> None:
    model = device_model(tiny[MEAN].directory, tiny[MEAN].contract)
    batches = [BATCH[:2], BATCH[2:]]
    alone = [model.run(0, batch)[0] for batch in batches]
    kept = [rows.copy() for rows in alone]

    def work(lane: int) -> float:
        return max(float(np.abs(model.run(lane, batches[lane])[0] - kept[lane]).max()) for _ in range(40))

    with ThreadPoolExecutor(2) as threads:
        assert max(threads.map(work, range(2))) < 1e-6
    for rows, copy in zip(alone, kept, strict=True):
        np.testing.assert_array_equal(rows, copy)
        assert rows.flags.writeable


@pytest.mark.parametrize("kind", ["cuda", "migraphx"])
def test_heads_of_tokens_have_the_batchs_length(tmp_path: Path, kind: Kind) -> None:
    source = write_tiny_m3(TINY_M3S[0], tmp_path / "source")
    contract = convert_directory(source, tmp_path / "made", Choices(heads=("sparse", "colbert")))
    session = OnnxDeviceSession(tmp_path / "made", contract, CPU, 1)
    plain = session.run(0, pad(BATCH[:3], contract.pad_id, contract.inputs))
    for one, other in zip(plain, as_large_as(kind, session, contract, contract.outputs), strict=True):
        assert other.shape == one.shape
        np.testing.assert_allclose(other, one, atol=1e-5)


def test_a_value_beyond_fp16_is_an_error_and_no_vector(tmp_path: Path) -> None:
    """Weights so large that a product leaves the range, as Gemma's do."""
    from safetensors.numpy import load_file, save_file

    source = write_tiny_encoder(tiny_encoder("modernbert-mean"), tmp_path / "source")
    path = source / "model.safetensors"
    weights = load_file(path)
    loud = next(name for name in weights if name.endswith("mlp.Wi.weight"))
    save_file(weights | {loud: weights[loud] * 1000}, path)
    contract = convert_directory(source, tmp_path / "made", Choices())
    half = tmp_path / "half"
    half.mkdir()
    for file in (tmp_path / "made").iterdir():
        (half / file.name).write_bytes(file.read_bytes())
    halve(tmp_path / "made", half)
    assert np.isfinite(device_model(tmp_path / "made", contract).run(0, BATCH)[0]).all()
    with pytest.raises(FloatingPointError, match="`precision: fp32`"):
        device_model(half, contract, half=True).run(0, BATCH)


def test_a_session_that_would_run_on_the_cpu_is_refused() -> None:
    check_providers(Device("cuda"), ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with pytest.raises(InternalError, match="could not start CUDAExecutionProvider and would run on CPUExecution"):
        check_providers(Device("cuda"), ["CPUExecutionProvider"])


@pytest.mark.parametrize("kind", ["cuda", "migraphx", "coreml"])
def test_an_absent_provider_is_an_error_at_load(tiny: dict[str, Prepared], kind: Kind) -> None:
    """As it happens: ONNX Runtime warns, and would go on."""
    device = Device(kind)
    if device.provider in onnxruntime.get_available_providers():
        pytest.skip(f"{device.provider} is here")
    program = f"""
import warnings; warnings.simplefilter("ignore")
from pathlib import Path
from sekisho.contract import Contract
from sekisho.runtime.device import Device
from sekisho.runtime.load import load_model
from sekisho.runtime.select import Choice
directory = Path({str(tiny[MEAN].directory)!r})
try:
    load_model(directory, Contract.read(directory), Choice("onnxruntime", "fp32", 2, 1, "", device=Device({kind!r})))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("InternalError"), done.stdout


def test_what_providers_are_told(tmp_path: Path) -> None:
    assert provider_options(Device("cuda", 1), half=True, compiled=None) == {
        "device_id": "1",
        "use_tf32": "1",
        "arena_extend_strategy": "kSameAsRequested",
    }
    amd = provider_options(Device("migraphx"), half=True, compiled=tmp_path)
    assert amd["migraphx_fp16_enable"] == "1"
    assert amd["migraphx_model_cache_dir"] == str(tmp_path)
    assert provider_options(Device("migraphx"), half=False, compiled=None)["migraphx_fp16_enable"] == "0"
    units = [provider_options(Device("coreml"), half=half, compiled=None)["MLComputeUnits"] for half in (False, True)]
    assert units == ["CPUAndGPU", "ALL"], "the Neural Engine computes in fp16 alone"
    assert provider_options(CPU, half=False, compiled=None) == {}


def test_only_a_cards_sessions_share_an_arena() -> None:
    for device, shared in ((Device("cuda"), "1"), (CPU, None), (Device("migraphx"), None)):
        options = session_options(device, unpack=False)
        assert not options.enable_mem_pattern
        for key in ("session.use_env_allocators", "session.use_device_allocator_for_initializers"):
            if shared is None:
                with pytest.raises(RuntimeError):
                    options.get_session_config_entry(key)
            else:
                assert options.get_session_config_entry(key) == shared
