"""A text's vector does not depend on the texts beside it, nor on how far its batch is padded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sekisho.catalog.prepare import Prepared
from sekisho.contract import Rows, Tokens
from sekisho.runtime.load import load_again, load_model
from sekisho.runtime.machine import this_machine
from sekisho.runtime.model import Model
from sekisho.runtime.select import Choice

#: On both sides of every length at which a vector of 16 floats is full.
LENGTHS = (2, 5, 12, 15, 16, 17, 23, 31, 33, 47, 48, 63, 65, 77, 100, 111, 113, 130, 191)


def text(length: int, seed: int) -> Tokens:
    return Tokens([101, *np.random.default_rng(seed).integers(1000, 20_000, length - 2).tolist(), 102])


def among(model: Model, wanted: Tokens, others: list[Tokens]) -> Rows:
    row: Rows = model.run(0, [*others, wanted])[0][-1]
    return row


def differences(model: Model) -> list[float]:
    """How far each text's vector among others is from the one it has alone."""
    found = []
    for length in LENGTHS:
        wanted = text(length, length)
        alone = among(model, wanted, [])
        batches = [
            [text(length + more, 7)] for more in (1, 3, 9, 16, 17, 40) if length + more <= model.contract.max_tokens
        ]
        batches += [[text(max(2, length - row), row) for row in range(rows)] for rows in (1, 4, 19)]
        found += [float(np.abs(among(model, wanted, batch) - alone).max()) for batch in batches]
    return found


def test_bfloat16_gives_the_same_bits_whatever_the_batch(minilm: Prepared) -> None:
    """In OpenVINO; what its softmax would do otherwise is told at `contract.even_length`."""
    if "BF16" not in this_machine().formats:
        pytest.skip("this CPU does not compute in bfloat16")
    model = load_model(minilm.directory, minilm.contract, Choice("openvino", "bf16", 1, 1, ""))
    try:
        assert max(differences(model)) == 0.0
    finally:
        model.close()


def test_a_text_alone_on_several_cores_is_what_it_is_on_one(minilm: Prepared) -> None:
    """A lane that has the machine for itself runs it there (`engine/wide.py`)."""
    for choice in (Choice("openvino", "bf16", 1, 1, ""), Choice("onnxruntime", "fp32", 1, 1, "")):
        one = load_model(minilm.directory, minilm.contract, choice)
        wide = load_again(one, minilm.directory, replace(choice, threads=2))
        try:
            apart = [np.abs(among(wide, text(n, n), []) - among(one, text(n, n), [])).max() for n in LENGTHS]
            assert max(apart) <= 1e-6, choice.engine
        finally:
            wide.close()
            one.close()


def test_fp32_gives_the_same_to_the_last_digit(minilm: Prepared) -> None:
    """ONNX Runtime adds up a single row in another order than several."""
    model = load_model(minilm.directory, minilm.contract, Choice("onnxruntime", "fp32", 1, 1, ""))
    try:
        assert max(differences(model)) <= 1e-6
    finally:
        model.close()
