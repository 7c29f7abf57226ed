"""OpenVINO on the CPU, from the same ONNX file."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import openvino

from sekisho.contract import GRAPH_FILE, Rows
from sekisho.runtime.model import Inputs

Numbers = Literal["fp32", "bf16", "fp16"]

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}

#: For graphs that are int8 in their weights alone: for how many channels of a token one scale is found, which is also
#: how `convert/int8.py` groups the weights. OpenVINO takes it for a product whose weights are compressed and whose
#: other side is float, and leaves all others; 0, for every graph but ours, keeps it from rounding unmeasured.
_CHANNELS_A_SCALE = "64"

#: Kernels are kept for each shape of a batch, by default thousands of them, half a megabyte each for a small model: a
#: server that sees all lengths would grow by a gigabyte. This many keep the speed of what repeats.
_CACHED_SHAPES = "256"

#: The first tensor a process hands to OpenVINO initialises tables in its Python binding. Two threads that do so at once
#: wait for ever: one holds the table's C++ guard and wants the GIL, the other the reverse (seen with 2026.4.1). So each
#: session is made and first used under this lock, before any lane can reach it.
_FIRST_USE = threading.Lock()


class OpenVinoSession:
    """One compiled model; each lane has a stream and an infer request of its own."""

    def __init__(
        self,
        directory: Path,
        outputs: tuple[str, ...],
        lanes: int,
        threads: int,
        precision: Numbers,
        *,
        round_tokens: bool = False,
    ) -> None:
        """round_tokens: weights in int8 are multiplied in int8, by tokens that are rounded as they come."""
        self.lanes = lanes
        with _FIRST_USE:
            self._compile(directory, outputs, lanes, threads, precision, _CHANNELS_A_SCALE if round_tokens else "0")
            for lane in range(lanes):
                self.run(lane, {name: np.ones((1, 2), np.int32) for name in self._inputs})

    def _compile(
        self, directory: Path, outputs: tuple[str, ...], lanes: int, threads: int, precision: Numbers, group: str
    ) -> None:
        compiled = openvino.Core().compile_model(
            str(directory / GRAPH_FILE),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": group,
                "NUM_STREAMS": str(lanes),
                "INFERENCE_NUM_THREADS": str(lanes * threads),
                # Pinned threads of two processes, or of two models, would sit on the same cores.
                "ENABLE_CPU_PINNING": False,
                "CPU_RUNTIME_CACHE_CAPACITY": _CACHED_SHAPES,
            },
        )
        self._inputs = [port.any_name for port in compiled.inputs]
        self._outputs = {name: compiled.output(name) for name in outputs}
        self._requests = [compiled.create_infer_request() for _ in range(lanes)]

    def run(self, lane: int, inputs: Inputs, outputs: Sequence[str] | None = None) -> list[Rows]:
        """All outputs are computed; those asked for are copied."""
        results = self._requests[lane].infer(inputs, share_inputs=True, share_outputs=True)
        # The request's own memory is written again by its next run.
        wanted = self._outputs if outputs is None else outputs
        return [np.array(results[self._outputs[name]], np.float32) for name in wanted]

    def close(self) -> None:
        del self._requests
