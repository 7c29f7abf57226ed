"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime

from sekisho.arrays import Inputs
from sekisho.contract import GRAPH_FILE, Rows

#: Padded tokens of a run from which on its memory is handed back after it. Batches are smaller; this is one long text.
_LARGE = 2048
#: By default it grows in steps twice as large as the last, of which the first never goes back.
_ARENA = {"arena_extend_strategy": "kSameAsRequested"}


class OnnxRuntimeSession:
    """One session shared by all lanes: its `run` may be called from many threads at once."""

    def __init__(
        self,
        directory: Path,
        outputs: tuple[str, ...],
        lanes: int,
        threads: int,
        *,
        unpack: bool = False,
        bf16: bool = False,
    ) -> None:
        """unpack: int8 weights become float once, when the graph is loaded, for graphs that are int8 in them alone.

        Where a graph also rounds what it multiplies them with, that would take its int8 kernels away.
        bf16: products of fp32 in bfloat16, where the CPU is an ARM that multiplies it; elsewhere it changes nothing.
        """
        options = onnxruntime.SessionOptions()
        # With one thread a run stays on its caller's thread, so lanes never compete for a pool.
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Memory is kept between runs: to ask the system for it each time costs a twentieth of the speed, two fifths at
        # 16,000 tokens, and what free() leaves behind is more. Shapes change with every batch, so a pattern never
        # repeats.
        options.enable_cpu_mem_arena = True
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1" if unpack else "0")
        options.add_session_config_entry("mlas.enable_gemm_fastmath_arm64_bfloat16", "1" if bf16 else "0")
        self.lanes = lanes
        self._outputs = list(outputs)
        self._session = onnxruntime.InferenceSession(
            str(directory / GRAPH_FILE), options, providers=[("CPUExecutionProvider", _ARENA)]
        )
        self._handing_back = onnxruntime.RunOptions()
        self._handing_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, lane: int, inputs: Inputs, outputs: Sequence[str] | None = None) -> list[Rows]:
        """What no output asked for needs is not computed."""
        wanted = self._outputs if outputs is None else outputs
        large = max(value.size for value in inputs.values()) > _LARGE
        rows: list[Rows] = self._session.run(wanted, inputs, self._handing_back if large else None)
        return rows

    def close(self) -> None:
        del self._session
