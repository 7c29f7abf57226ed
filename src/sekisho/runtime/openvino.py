"""OpenVINO on the CPU, from the same ONNX file."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import openvino

from sekisho.arrays import Inputs, pad
from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE, Rows, Tokens
from sekisho.runtime.machine import Machine, lacks_vnni, this_machine
from sekisho.runtime.mapped import let_go

Numbers = Literal["fp32", "bf16", "fp16"]

_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}

#: For products that are int8 in their weights alone: for how many channels of a token one scale is found, which is also
#: how `convert/int8.py` groups the weights. OpenVINO takes it for a product whose weights are compressed and whose
#: other side is float, and leaves all others; 0, for every graph but ours, keeps it from rounding unmeasured.
_CHANNELS_A_SCALE = "64"
#: Products whose both sides are int8 are computed in float: x86 without VNNI adds two of u8 and s8 in 16 bits, which
#: they can overflow (https://oneapi-src.github.io/oneDNN/dev_guide_int8_computations.html).
_IN_FLOAT = {"LP_TRANSFORMS_MODE": "NO"}

#: Kernels are made for each shape of a batch, half a megabyte of them for a small model, and kept in two places: by
#: OpenVINO for each stream, thousands of each kind of operator, and by oneDNN below it, 1,024 for the whole process.
#: Under a server every batch has another shape, so memory grows for hours and little of it is used again. The first is
#: held to this many of a kind; the second is left empty, as what it would find the first has (docs/performance.md).
_KERNELS_KEPT = "128"
_NO_SECOND_CACHE = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")

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
        """round_tokens: weights in int8 are multiplied in int8, also by tokens that are rounded as they come; in float
        where the CPU is known to have no int8 products.
        """
        self.lanes = lanes
        os.environ.setdefault(*_NO_SECOND_CACHE)  # oneDNN reads it once, when it makes its first kernel
        with _FIRST_USE:
            self._compile(directory, outputs, lanes, threads, precision, _int8(this_machine(), ours=round_tokens))
            first = pad([Tokens((1, 1))], 0, self._inputs)
            for lane in range(lanes):
                # One input of a ready-made graph may go by several names.
                self.run(lane, {name: first.get(name, first["attention_mask"]) for name in self._inputs})
        # The weights of products have been copied, in an order of their own. Rows of the vocabulary are read from the
        # file, and come back as texts need them.
        let_go((directory / WEIGHTS_FILE).resolve())

    def _compile(
        self,
        directory: Path,
        outputs: tuple[str, ...],
        lanes: int,
        threads: int,
        precision: Numbers,
        int8: dict[str, str],
    ) -> None:
        compiled = openvino.Core().compile_model(
            str(directory / GRAPH_FILE),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": _HINTS[precision],
                **int8,
                "NUM_STREAMS": str(lanes),
                "INFERENCE_NUM_THREADS": str(lanes * threads),
                # Pinned threads of two processes, or of two models, would sit on the same cores.
                "ENABLE_CPU_PINNING": False,
                "CPU_RUNTIME_CACHE_CAPACITY": _KERNELS_KEPT,
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


def _int8(machine: Machine, *, ours: bool) -> dict[str, str]:
    """How products in int8 are computed; ours: those of a graph that `convert/int8.py` made."""
    if not ours:
        return {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    return {"DYNAMIC_QUANTIZATION_GROUP_SIZE": _CHANNELS_A_SCALE} | (_IN_FLOAT if lacks_vnni(machine) else {})
