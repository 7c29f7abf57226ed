"""fp16 for a card when a model is prepared: keyed apart, measured, kept float where it does not fit, shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sekisho.assemble import open_catalog
from sekisho.catalog.artifacts import Artifacts
from sekisho.catalog.lockfile import Lock
from sekisho.catalog.prepare import Preparer
from sekisho.catalog.registry import Spec, load_registry
from sekisho.cli.explain import explain
from sekisho.contract import Contract, Passage, Rows
from sekisho.errors import ConversionFailed
from sekisho.runtime.device import Device
from sekisho.runtime.load import load_model
from sekisho.runtime.machine import this_machine
from sekisho.runtime.nvidia import Card
from sekisho.runtime.placing import Placement
from sekisho.runtime.select import choose, halves
from sekisho.settings import Settings
from tests.checkpoints_decoders import TINY_STATICS, tiny_decoder, write_tiny_decoder, write_tiny_static
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder
from tests.conftest import WriteRegistry
from tests.engines import ONNX_FP32

CARD = Placement(Device("cuda"), "a card", Card("T4", (7, 5), 16 << 30))


def on_the_cpu(directory: Path, contract: Contract, given: Sequence[Passage], served: bool, alone: bool) -> Rows:
    model = load_model(directory, contract, ONNX_FP32)
    try:
        tokens = model.encode(given, "end")
        size = 1 if alone else 32
        return np.concatenate([model.run(0, tokens[at : at + size])[0] for at in range(0, len(tokens), size)])
    finally:
        model.close()


Make = Callable[..., tuple[Preparer, Spec]]


@pytest.fixture
def make(tmp_path: Path, write_registry: WriteRegistry) -> Make:
    """A preparer of a machine with a card, or without, and its one model."""

    def get(write: Callable[[Path], object], *, card: bool = True, line: str = "") -> tuple[Preparer, Spec]:
        if not (tmp_path / "files").exists():
            write(tmp_path / "files")
        registry = write_registry(f"version: 1\nmodels:\n  - {{name: tiny, source: {{path: files}}{line}}}\n")
        spec = next(iter(load_registry(registry)))

        def in_half(asked: Spec) -> bool:
            return card and halves(asked.precision, CARD)

        artifacts = Artifacts(registry.parent, offline=True)
        return Preparer(tmp_path / "home", artifacts, Lock(models={}), on_the_cpu, in_half), spec

    return get


def modernbert(directory: Path) -> object:
    return write_tiny_encoder(tiny_encoder("modernbert-mean"), directory)


def test_a_card_has_a_version_of_its_own_and_both_stay(make: Make) -> None:
    card, spec = make(modernbert)
    cpu, _ = make(modernbert, card=False)
    assert card.target(spec) != cpu.target(spec)
    half, single = card.prepare(spec), cpu.prepare(spec)
    assert (half.contract.numbers, single.contract.numbers) == ("half", "float")
    assert half.contract.quality is not None
    assert half.contract.quality.cosine_mean > 0.9999
    assert half.contract.origins["numbers"] == "the device"
    found = card.find(spec)
    assert found is not None
    assert found.directory == half.directory
    choice = choose(this_machine(), "auto", spec.precision, None, half.contract, CARD)
    assert (choice.precision, choice.device) == ("fp16", CARD.device)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_what_asks_for_other_numbers_is_the_same_with_a_card(make: Make, precision: str) -> None:
    (card, spec), (cpu, _) = (make(modernbert, card=card, line=f", precision: {precision}") for card in (True, False))
    assert card.target(spec) == cpu.target(spec)


def gemma(directory: Path) -> object:
    return write_tiny_decoder(tiny_decoder("tiny-gemma-both-ways"), directory)


def test_a_family_that_leaves_the_range_stays_float_and_says_why(make: Make) -> None:
    preparer, spec = make(gemma)
    prepared = preparer.prepare(spec)
    assert prepared.contract.numbers == "float"
    choice = choose(this_machine(), "auto", spec.precision, None, prepared.contract, CARD)
    assert choice.precision == "fp32"
    assert "values of Gemma 3 leave fp16's range" in choice.reason


def test_asked_for_it_is_made_all_the_same_if_it_passes(make: Make) -> None:
    preparer, spec = make(gemma, line=", precision: fp16")
    assert preparer.prepare(spec).contract.numbers == "half"


def table(directory: Path) -> object:
    return write_tiny_static(TINY_STATICS[0], directory)


def test_a_table_of_vectors_has_no_products_and_stays_float(make: Make) -> None:
    preparer, spec = make(table)
    assert preparer.prepare(spec).contract.numbers == "float"


def test_asked_for_a_table_in_fp16_is_refused(make: Make) -> None:
    preparer, spec = make(table, line=", precision: fp16")
    with pytest.raises(ConversionFailed, match="no products"):
        preparer.prepare(spec)
    assert preparer.find(spec) is None


def test_a_half_graph_that_is_prepared_runs_where_there_is_no_card(make: Make) -> None:
    preparer, spec = make(modernbert)
    prepared = preparer.prepare(spec)
    choice = choose(this_machine(), "auto", spec.precision, 1, prepared.contract)
    model = load_model(prepared.directory, prepared.contract, replace(choice, lanes=1))
    try:
        assert np.isfinite(model.run(0, model.encode([Passage("京都の静かな通り")], "end"))[0]).all()
    finally:
        model.close()


def test_why_a_model_is_not_in_fp16_is_shown(make: Make, tmp_path: Path) -> None:
    preparer, spec = make(gemma)
    prepared = preparer.prepare(spec)
    assert prepared.contract.origins["half"]
    catalog = replace(
        open_catalog(Settings(models=tmp_path / "models.yaml", home=tmp_path / "home")), preparer=preparer
    )
    rows = {key: (value, origin) for key, value, origin in explain(catalog, catalog.registry.find("tiny"))}
    assert rows["contract.half"] == ("no", "values of Gemma 3 leave fp16's range")
