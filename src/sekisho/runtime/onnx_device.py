"""ONNX Runtime on a device: inputs are put into its memory, outputs copied back, and all models share one arena."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from sekisho.arrays import Inputs
from sekisho.contract import GRAPH_FILE, Contract, Rows
from sekisho.errors import InternalError
from sekisho.runtime.accelerators import preload_cuda
from sekisho.runtime.device import CPU, Device, no_room
from sekisho.runtime.shapes import few_sizes, fitted, shrink, stretch

_SAME_AS_REQUESTED = 1
#: The cards whose arena is registered; changed under the lock.
_SHARED: set[int] = set()
_FIRST_USE = threading.Lock()


class OnnxDeviceSession:
    """One session that all lanes share: each run has a stream and a binding of its own."""

    def __init__(
        self,
        directory: Path,
        contract: Contract,
        device: Device,
        lanes: int,
        *,
        half: bool = False,
        memory: int | None = None,
        compiled: Path | None = None,
    ) -> None:
        """half: products in fp16. memory: most bytes of the device for what runs compute; None: all there are.

        compiled: where a provider that compiles keeps what it compiled.

        Raises InternalError where ONNX Runtime would run on the CPU instead.
        """
        self.lanes = lanes
        self._device = device
        self._outputs = contract.outputs
        self._pad_id, self._longest = contract.pad_id, contract.max_tokens
        self._half = half
        if device.kind == "cuda":
            with _FIRST_USE:
                preload_cuda()
                share_memory(device.index, memory)
        first = device.provider, provider_options(device, half=half, compiled=compiled)
        self._session = onnxruntime.InferenceSession(
            str(directory / GRAPH_FILE),
            session_options(device, unpack=contract.numbers == "int8"),
            providers=[first] if device == CPU else [first, CPU.provider],
            enable_fallback=0,  # else what fails on the device is tried on the CPU, with a line on stdout
        )
        check_providers(device, self._session.get_providers())

    def run(self, lane: int, inputs: Inputs, outputs: Sequence[str] | None = None) -> list[Rows]:
        """Raises MemoryError where the device has too little for the batch.

        Raises FloatingPointError where fp16 was not wide enough for a text: no such vector is ever an answer.
        """
        names = self._outputs if outputs is None else outputs
        rows, length = inputs["input_ids"].shape
        full = stretch(inputs, *fitted(self._device.kind, rows, length, self._longest), self._pad_id)
        full = few_sizes(self._device.kind, full)
        results = shrink(dict(zip(names, self._bound_run(full, names), strict=True)), rows, length)
        if self._half and not all(np.isfinite(result).all() for result in results):
            raise FloatingPointError("a value left the range of fp16: set `precision: fp32` for this model")
        return results

    def _bound_run(self, inputs: Inputs, names: Sequence[str]) -> list[Rows]:
        memory, index = self._device.memory, self._device.index if self._device.memory != "cpu" else 0
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, memory, index))
        for name in names:
            binding.bind_output(name, memory, index)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime's own errors share no other base
            if no_room(str(error)):
                raise MemoryError(f"{self._device} has too little memory for the batch") from error
            raise
        results: list[Rows] = binding.copy_outputs_to_cpu()
        return results

    def close(self) -> None:
        del self._session


def session_options(device: Device, *, unpack: bool) -> Any:
    """onnxruntime.SessionOptions. unpack: int8 weights become float when the graph is loaded."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # what stays on the CPU are a few numbers: the sizes of arrays
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # shapes change with every batch
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1" if unpack else "0")
    if device.kind == "cuda":
        # Two models that take turns grow by 2 GB each time, each in an arena of its own, until nothing is left:
        # https://github.com/microsoft/onnxruntime/issues/29351. In a shared one the second finds what the first let go.
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Weights beside it: they go back to the card when a model is unloaded, which memory of an arena never does.
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return options


def provider_options(device: Device, *, half: bool, compiled: Path | None) -> dict[str, str]:
    """What a provider is told; https://onnxruntime.ai/docs/execution-providers has a page for each."""
    if device.kind == "cuda":
        return {
            "device_id": str(device.index),
            "use_tf32": "1",  # fp32 products in TensorFloat-32, on Ampere and later
            "arena_extend_strategy": "kSameAsRequested",
        }
    if device.kind == "migraphx":
        options = {"device_id": str(device.index), "migraphx_fp16_enable": "1" if half else "0"}
        return options | ({"migraphx_model_cache_dir": str(compiled)} if compiled is not None else {})
    if device.kind == "coreml":
        # The Neural Engine computes in fp16 alone.
        options = {"ModelFormat": "MLProgram", "MLComputeUnits": "ALL" if half else "CPUAndGPU"}
        return options | ({"ModelCacheDirectory": str(compiled)} if compiled is not None else {})
    return {}


def check_providers(device: Device, providers: Sequence[str]) -> None:
    """Raises InternalError where a session lacks its device: ONNX Runtime goes on with what is left of the list."""
    if device.provider not in providers:
        raise InternalError(
            f"ONNX Runtime could not start {device.provider} and would run on {', '.join(providers)}: "
            "`sekisho doctor` says what is missing, SEKISHO_DEVICE=cpu does without"
        )


def share_memory(index: int, most: int | None) -> None:
    """Register the arena of a card that all its sessions use (`session.use_env_allocators`). Once a process.

    It grows by what is asked for: doubling, ONNX Runtime's default, would take up to twice what a batch needs. Only the
    card's own memory is shared: registering the CPU's too makes pinned memory an ordinary one
    (https://github.com/microsoft/onnxruntime/issues/25211).
    """
    if index in _SHARED:
        return
    kinds = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType
    where = onnxruntime.OrtMemoryInfo("Cuda", kinds[0].ORT_ARENA_ALLOCATOR, index, kinds[1].DEFAULT)
    arena = onnxruntime.OrtArenaCfg({"max_mem": most or 0, "arena_extend_strategy": _SAME_AS_REQUESTED})
    onnxruntime.create_and_register_allocator_v2("CUDAExecutionProvider", where, {"device_id": str(index)}, arena)
    _SHARED.add(index)
