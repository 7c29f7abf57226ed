"""A finished graph is run once before anybody is served by it: what its file claims and what it does may differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from sekisho.arrays import pad
from sekisho.contract import Numbers, Tokens
from sekisho.errors import ConversionFailed

#: Long enough to pass the end of the usual position tables, short enough to take a second.
_LONGEST = 512
#: Lowest cosine of a text alone to the same text beside a longer one. float16 graphs give 0.9999, one that reads its
#: padding 0.9 and less. Numbers whose scales are the batch's own may move: that is said, not refused.
_ALONE = 0.999


def check(path: Path, name: str) -> None:
    """Raises ConversionFailed where onnx.checker does not accept the graph. Weights beside it are not read."""
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:  # of types that differ by version
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).replace(str(path.parent), "…")
        raise ConversionFailed(f"{name} is no valid ONNX graph: {reason}") from None


def run(
    path: Path, name: str, inputs: Sequence[str], outputs: Sequence[str], vocabulary: int, max_tokens: int,
    numbers: Numbers,
) -> int:  # fmt: skip
    """Width of the first output, from running it on ids that mean nothing.

    Raises ConversionFailed where it cannot be run, gives another shape or no numbers, or reads its padding.
    """
    try:
        session = _session(path)
        rows = _outputs(session, inputs, outputs, [_ids(2, vocabulary), _ids(min(5, max_tokens), vocabulary)])
        alone = _outputs(session, inputs, outputs, [_ids(2, vocabulary)])
        long = _outputs(session, inputs, outputs, [_ids(min(max_tokens, _LONGEST), vocabulary)])
    except Exception as error:  # the engine's errors share no base
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).replace(str(path.parent), "…")
        raise ConversionFailed(
            f"{name} cannot be run on texts of up to {min(max_tokens, _LONGEST)} tokens (if that is too long for it, "
            "set `max_tokens` in models.yaml or `max_position_embeddings` in a config.json beside it): "
            f"{reason}"
        ) from None
    for given, count in ((rows, 2), (alone, 1), (long, 1)):
        if any(row.ndim != 2 or len(row) != count for row in given):
            raise ConversionFailed(
                f"{name} gives the shapes {[row.shape for row in given]} for {count} texts, expected a row each"
            )
        if not all(np.isfinite(row).all() for row in given):
            raise ConversionFailed(f"{name} gives numbers that are infinite or none")
    if numbers != "dynamic_int8" and not _same(rows[0][0], alone[0][0]):
        raise ConversionFailed(
            f"{name} gives a text another vector beside a longer one (cosine {_cosine(rows[0][0], alone[0][0]):.4f}): "
            "it reads the padding"
        )
    return int(rows[0].shape[1])


def _same(row: NDArray[np.float32], alone: NDArray[np.float32]) -> bool:
    if row.size == 1:  # a score: no direction to compare
        return bool(np.allclose(row, alone, rtol=1e-2, atol=1e-2))
    return _cosine(row, alone) >= _ALONE


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 1.0


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # As it stands: nothing is fused, folded or packed, so the weights stay in the file and are mapped.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _ids(count: int, vocabulary: int) -> NDArray[np.int32]:
    return np.random.default_rng(count).integers(0, vocabulary, count, np.int32)


def _outputs(
    session: onnxruntime.InferenceSession, inputs: Sequence[str], outputs: Sequence[str], texts: list[NDArray[np.int32]]
) -> list[NDArray[np.float32]]:
    given = pad([Tokens(text.tolist()) for text in texts], 0, inputs)
    made: list[NDArray[np.float32]] = session.run(list(outputs), {name: given[name] for name in inputs})
    return made
