"""Blocks give what a mask over the whole text gives, at every length."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.arrays import where
from sekisho.contract import Contract, Rows
from sekisho.convert import windows
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.runtime.model import Session
from sekisho.runtime.onnx import OnnxRuntimeSession
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder

Ids = NDArray[np.int32]

#: Its window reaches 8 tokens, so a text of up to 32 stays whole.
SPEC = tiny_encoder("modernbert-mean")
RADIUS = SPEC.config["local_attention"] // 2


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("windows")
    write_tiny_encoder(SPEC, directory / "source")
    convert_directory(directory / "source", directory / "blocked", Choices())
    return directory / "blocked"


@pytest.fixture(scope="module")
def masked(blocked: Path) -> Path:
    """The same model with every text whole, so with a mask in place of blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_WHOLE_UP_TO", 1_000_000)
        convert_directory(blocked.with_name("source"), blocked.with_name("masked"), Choices())
    return blocked.with_name("masked")


def session(directory: Path, engine: Literal["onnxruntime", "openvino"] = "onnxruntime") -> Session:
    outputs = Contract.read(directory).outputs
    if engine == "onnxruntime":
        return OnnxRuntimeSession(directory, outputs, 1, 1)
    from sekisho.runtime.openvino import OpenVinoSession

    return OpenVinoSession(directory, outputs, 1, 1, "fp32")


def ids(length: int, seed: int = 0) -> Ids:
    return np.random.default_rng([length, seed]).integers(4, SPEC.config["vocab_size"], (1, length)).astype(np.int32)


def vectors(session: Session, given: Ids, mask: Ids | None = None) -> Rows:
    mask = np.ones_like(given) if mask is None else mask
    return session.run(0, {"input_ids": given, "attention_mask": mask} | where(mask))[0]


def test_at_every_length_blocks_give_what_a_mask_gives(blocked: Path, masked: Path) -> None:
    ours, whole = session(blocked), session(masked)
    for length in range(1, SPEC.limit + 1):
        np.testing.assert_allclose(vectors(ours, ids(length)), vectors(whole, ids(length)), rtol=2e-4, atol=2e-5)


def test_openvino_agrees_around_the_lengths_where_the_shape_changes(blocked: Path, masked: Path) -> None:
    ours, whole = session(blocked, "openvino"), session(masked)
    for length in (1, 31, 32, 33, 40, 41, 63, 64, 65, 149, SPEC.limit):
        np.testing.assert_allclose(vectors(ours, ids(length)), vectors(whole, ids(length)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("longest", [32, 33, 70, 150])
def test_padding_changes_nothing(blocked: Path, longest: int) -> None:
    """A short text among long ones is in blocks of which some hold nothing but padding."""
    ours = session(blocked)
    lengths = [1, 7, 8, 9, 31, 32, longest]
    given, mask = np.zeros((len(lengths), longest), np.int32), np.zeros((len(lengths), longest), np.int32)
    for row, length in enumerate(lengths):
        given[row, :length], mask[row, :length] = ids(length)[0], 1
    together = vectors(ours, given, mask)
    alone = np.concatenate([vectors(ours, ids(length)) for length in lengths])
    np.testing.assert_allclose(together, alone, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("limit", [33, 65, 130, 150, 251])
def test_the_position_tables_are_long_enough_for_every_limit(tmp_path: Path, blocked: Path, limit: int) -> None:
    convert_directory(blocked.with_name("source"), tmp_path / "made", Choices(max_tokens=limit))
    ours = session(tmp_path / "made")
    for length in range(limit - RADIUS, limit + 1):
        assert np.isfinite(vectors(ours, ids(length))).all()
