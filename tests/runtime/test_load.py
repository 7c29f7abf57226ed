"""Prepared directories in memory: both engines, lanes at once, what cannot be loaded."""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sekisho.arrays import pad
from sekisho.catalog.prepare import Prepared
from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE, Contract, Passage, Tokens
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.errors import ConversionFailed, InternalError
from sekisho.runtime.load import load_model
from sekisho.runtime.select import Choice
from tests.checkpoints import write_tiny_bert
from tests.engines import EVERY, FP32, ONNX_FP32
from tests.goldens_io import golden_texts, tiny_spec

MEAN = "tiny-bert-mean"


def test_a_batch_is_padded_to_its_longest() -> None:
    inputs = pad([Tokens([7, 8]), Tokens([1, 2, 3, 4]), Tokens([9])], 5)
    assert inputs["input_ids"].tolist() == [[7, 8, 5, 5], [1, 2, 3, 4], [9, 5, 5, 5]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.int32)}


@FP32
def test_the_pad_id_of_the_contract_is_harmless(tmp_path: Path, choice: Choice) -> None:
    """Whatever stands in the padding, the rows are the same."""
    source = write_tiny_bert(tiny_spec(MEAN), tmp_path / "source")
    contract = convert_directory(source, tmp_path / "made", Choices())
    batch = [Tokens([2, 40, 3]), Tokens([2, *range(40, 90), 3])]
    rows = [
        load_model(tmp_path / "made", replace(contract, pad_id=pad_id), choice).run(0, batch)[0] for pad_id in (0, 777)
    ]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


@EVERY
def test_rows_belong_to_their_caller(tiny: dict[str, Prepared], choice: Choice) -> None:
    """An engine's own buffer would change with its next run."""
    model = load_model(tiny[MEAN].directory, tiny[MEAN].contract, choice)
    first, norms = model.run(0, [Tokens([2, 40, 41, 3])])
    kept, kept_norms = first.copy(), norms.copy()
    model.run(0, [Tokens([2, 90, 91, 3])])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(norms, kept_norms)
    assert first.flags.writeable
    assert first.dtype == norms.dtype == np.float32


@EVERY
def test_lanes_run_at_once_without_mixing(tiny: dict[str, Prepared], choice: Choice) -> None:
    model = load_model(tiny[MEAN].directory, tiny[MEAN].contract, replace(choice, lanes=3, threads=1))
    assert model.lanes == 3
    batches = [[Tokens([2, *range(30 + lane, 34 + lane * 9), 3])] * (lane + 1) for lane in range(3)]
    alone = [model.run(0, batch)[0] for batch in batches]

    def work(lane: int) -> float:
        return max(float(np.abs(model.run(lane, batches[lane])[0] - alone[lane]).max()) for _ in range(40))

    with ThreadPoolExecutor(3) as threads:
        worst = max(threads.map(work, range(3)))
    assert worst < (1e-5 if choice.precision == "fp32" else 1e-2)


@EVERY
def test_every_length_up_to_the_longest_runs(tiny: dict[str, Prepared], choice: Choice) -> None:
    prepared = tiny["tiny-bert-max"]
    model = load_model(prepared.directory, prepared.contract, choice)
    for length in (1, 2, 3, 31, prepared.contract.max_tokens):
        rows = model.run(0, [Tokens([2] * length)] * 2)[0]
        assert rows.shape == (2, prepared.contract.width)
        assert np.isfinite(rows).all()


def test_a_model_encodes_with_its_own_tokenizer(tiny: dict[str, Prepared]) -> None:
    model = load_model(tiny[MEAN].directory, tiny[MEAN].contract, ONNX_FP32)
    (tokens,) = model.encode([Passage("the weather")], "end")
    assert tokens.ids[0] == 2
    assert len(tokens) >= 4


@EVERY
def test_a_closed_model_lets_go_of_its_session(tiny: dict[str, Prepared], choice: Choice) -> None:
    model = load_model(tiny[MEAN].directory, tiny[MEAN].contract, choice)
    model.close()
    with pytest.raises(AttributeError):
        model.run(0, [Tokens([2, 3])])


def copied(prepared: Prepared, directory: Path) -> Path:
    shutil.copytree(prepared.directory, directory)
    return directory


def broken_graph(directory: Path) -> None:
    (directory / GRAPH_FILE).write_bytes(b"this is no graph")


def no_graph(directory: Path) -> None:
    (directory / GRAPH_FILE).unlink()


def no_weights(directory: Path) -> None:
    (directory / WEIGHTS_FILE).unlink()


def short_weights(directory: Path) -> None:
    os.truncate(directory / WEIGHTS_FILE, 1000)


@FP32
@pytest.mark.parametrize("damage", [broken_graph, no_graph, no_weights, short_weights])
def test_a_graph_that_cannot_be_loaded_is_an_error_without_our_paths(
    tmp_path: Path, tiny: dict[str, Prepared], choice: Choice, damage: object
) -> None:
    directory = copied(tiny[MEAN], tmp_path / "copy")
    assert callable(damage)
    damage(directory)
    with pytest.raises(InternalError, match=f"{choice.engine} cannot load the prepared graph: .") as caught:
        load_model(directory, tiny[MEAN].contract, choice)
    assert str(tmp_path) not in caught.value.message
    assert "\n" not in caught.value.message


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path, tiny: dict[str, Prepared]) -> None:
    directory = copied(tiny["tiny-bert-max"], tmp_path / "copy")
    shutil.copyfile(tiny[MEAN].directory / "tokenizer.json", directory / "tokenizer.json")
    with pytest.raises(ConversionFailed, match="another model's"):
        load_model(directory, tiny["tiny-bert-max"].contract, ONNX_FP32)


def test_a_contract_survives_its_file(tiny: dict[str, Prepared]) -> None:
    for prepared in tiny.values():
        assert Contract.read(prepared.directory) == prepared.contract


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@FP32
def test_weights_are_mapped_not_copied(minilm: Prepared, choice: Choice) -> None:
    """The word table alone is half of the file: a second copy of it would show."""
    model = load_model(minilm.directory, minilm.contract, choice)
    model.run(0, model.encode([Passage(golden_texts()[0])], "end"))
    assert str(minilm.directory / WEIGHTS_FILE) in Path("/proc/self/maps").read_text()
    model.close()
