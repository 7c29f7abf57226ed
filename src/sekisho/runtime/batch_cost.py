"""What a batch costs in tokens, by which batches are chosen; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: What starting a batch costs, in tokens, where it was not measured: between all-MiniLM-L6-v2's 8 in ONNX Runtime and
#: 30 in OpenVINO, for which a shape unlike the last one is work.
FIXED_TOKENS = 16.0
#: What attention costs a packed graph where it was not measured: a place, and a place for every token it can see. Of
#: all-MiniLM-L6-v2 in OpenVINO; its products take 6 × 384 times the multiply-adds of the second.
_PLACE, _SQUARE = 0.06, 0.0004


@dataclass(frozen=True)
class BatchCost:
    """All in tokens: a batch costs `fixed` + those computed on + `place` × places + `square` × places × longest.

    Places: rows × longest. packed: whether the tokens alone are computed on; else every place is.
    """

    fixed: float = FIXED_TOKENS
    place: float = 0.0
    square: float = 0.0
    packed: bool = False

    @classmethod
    def usual(cls, *, packed: bool, fixed: float = FIXED_TOKENS) -> BatchCost:
        """Where nothing was measured."""
        return cls(fixed, _PLACE, _SQUARE, packed) if packed else cls(fixed)

    def work(self, tokens: Any, rows: Any, longest: Any) -> Any:
        """Of batches of so many tokens, rows and tokens in the longest; numbers or arrays alike, without the start."""
        places = rows * longest
        return (tokens if self.packed else places) + places * (self.place + self.square * longest)
