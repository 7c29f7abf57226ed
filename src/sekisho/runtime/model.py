"""The seam to the compute: a loaded model. No queue, no clock, no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sekisho.arrays import Inputs, pad
from sekisho.contract import Contract, Passage, Rows, Tokens, Truncation
from sekisho.runtime.spelling import Piece
from sekisho.runtime.tokenizer import TextTokenizer


class Session(Protocol):
    """A compiled graph. `lanes` callers may be in `run` at once, each under a lane number of its own."""

    lanes: int

    def run(self, lane: int, inputs: Inputs, outputs: Sequence[str] | None = None) -> list[Rows]:
        """The outputs named, in that order; None: all, in the contract's order. The caller owns them."""
        ...

    def close(self) -> None: ...


class Model(Protocol):
    """Text to tokens, tokens to rows."""

    contract: Contract
    lanes: int

    def encode(self, passages: Sequence[Passage], truncation: Truncation) -> list[Tokens]: ...

    def run(self, lane: int, batch: Sequence[Tokens], heads: Sequence[str] = ()) -> list[Rows]: ...

    def spell(self, passage: Passage, *, special: bool) -> list[Piece]: ...

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str: ...

    def close(self) -> None: ...


class LocalModel:
    """A prepared model in this process: its tokenizer and a session of one of the engines."""

    def __init__(self, contract: Contract, tokenizer: TextTokenizer, session: Session) -> None:
        self.contract = contract
        self.lanes = session.lanes
        self._tokenizer = tokenizer
        self._session = session
        self._outputs = [name for name in contract.outputs if name not in contract.heads]

    def encode(self, passages: Sequence[Passage], truncation: Truncation) -> list[Tokens]:
        """Raises InputTooLong where truncation is `none`, InvalidRequest for ids outside the vocabulary."""
        return self._tokenizer.encode(passages, truncation)

    def run(self, lane: int, batch: Sequence[Tokens], heads: Sequence[str] = ()) -> list[Rows]:
        """Tokens of any lengths → float32 outputs [rows, width] in the contract's order.

        After them `heads`, of the contract's, in the order asked: float32 [rows, longest, …], zero where a row ends.
        """
        inputs = pad(batch, self.contract.pad_id, self.contract.inputs)
        if not heads:
            return self._session.run(lane, inputs, self._outputs)
        outputs = self._session.run(lane, inputs, [*self._outputs, *heads])
        for name, output in zip(heads, outputs[len(self._outputs) :], strict=True):
            if name == "sparse":
                # As FlagEmbedding's BGEM3 does: what frames every text, or stands for what is not known, says nothing.
                output[np.isin(inputs["input_ids"], self._tokenizer.wordless)] = 0
        return outputs

    def spell(self, passage: Passage, *, special: bool) -> list[Piece]:
        """The tokens of one whole text. Raises InvalidRequest for texts with lone surrogates."""
        return self._tokenizer.spell(passage, special=special)

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str:
        """Raises InvalidRequest for ids outside the vocabulary."""
        return self._tokenizer.decode(ids, skip_special=skip_special)

    def beside(self, session: Session) -> LocalModel:
        """The same model over another session."""
        return LocalModel(self.contract, self._tokenizer, session)

    def close(self) -> None:
        self._session.close()
