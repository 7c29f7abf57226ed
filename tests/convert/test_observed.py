"""What calibration sees of a graph, and the texts it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from sekisho.assemble import gate_run
from sekisho.contract import GRAPH_FILE
from sekisho.convert import observed
from sekisho.convert.build import convert_directory
from sekisho.convert.calibration_texts import calibration
from sekisho.convert.decisions import Choices
from sekisho.convert.gate_texts import passages
from sekisho.convert.observed import TOKENS, Observed, observe
from sekisho.convert.products import is_normed, products
from sekisho.settings import Settings
from tests.checkpoints_decoders import tiny_decoder, write_tiny_decoder
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder
from tests.goldens.corpus import load_texts

RUN = gate_run(Settings(threads=1))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("observed")
    write_tiny_encoder(tiny_encoder("xlm-roberta-cls"), root / "source")
    convert_directory(root / "source", root / "made", Choices())
    return root / "made"


def given(directory: Path) -> dict[str, int]:
    found = products(ir.load(directory / GRAPH_FILE).graph)
    return {str(product.given.name): product.shape[0] for product in found}


def seen(directory: Path) -> dict[str, Observed]:
    return {name: one for part in observe(directory, given(directory), RUN) for name, one in part.items()}


def test_every_input_is_seen_at_some_tokens_of_each_text_and_at_its_ends(made: Path) -> None:
    before = sorted(path.name for path in made.iterdir())
    found = seen(made)
    assert found.keys() == given(made).keys()
    for name, one in found.items():
        assert one.tokens.shape == (TOKENS * len(calibration("embedding")), given(made)[name])
        assert np.all(one.lowest <= one.tokens.min(axis=0))
        assert np.all(one.highest >= one.tokens.max(axis=0))
        assert np.any(one.highest > one.tokens.max(axis=0)), "of every token, not only of those held"
    assert sorted(path.name for path in made.iterdir()) == before


def test_a_norm_gives_what_a_norm_gives(made: Path) -> None:
    """Tokens from a norm have one length, once its scale and shift are taken away: other values do not."""
    graph = ir.load(made / GRAPH_FILE).graph
    found = seen(made)
    normed = [product for product in products(graph) if is_normed(product.given)]
    assert normed
    for product in normed:
        node = product.given.producer()
        assert node is not None
        scale, shift = (node.inputs[place].const_value.numpy() for place in (1, 2))  # type: ignore[union-attr]
        lengths = np.linalg.norm((found[str(product.given.name)].tokens - shift) / scale, axis=1)
        np.testing.assert_allclose(lengths, np.sqrt(product.shape[0]), rtol=1e-3)


def test_a_model_too_large_for_one_run_is_seen_in_parts(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = seen(made)
    monkeypatch.setattr(observed, "_AT_ONCE", 1)
    parts = list(observe(made, given(made), RUN))
    assert [len(part) for part in parts] == [1] * len(whole)
    for part in parts:
        for name, one in part.items():
            np.testing.assert_array_equal(one.tokens, whole[name].tokens)


def test_a_norm_that_is_written_out_is_one(tmp_path: Path) -> None:
    write_tiny_decoder(tiny_decoder("tiny-llama-last"), tmp_path / "source")
    convert_directory(tmp_path / "source", tmp_path / "made", Choices())
    found = products(ir.load(tmp_path / "made" / GRAPH_FILE).graph)
    kinds = {product.name.split(".")[-2]: is_normed(product.given) for product in found}
    assert kinds.pop("o_proj") is False
    assert kinds.pop("down_proj") is False
    assert kinds
    assert all(kinds.values())


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
def test_no_text_that_judges_is_calibrated_with(kind: str) -> None:
    texts = calibration(kind)  # type: ignore[arg-type]
    ours = {text.text for text in texts} | {text.pair for text in texts if text.pair}
    judges = {text.text for text in passages(kind)} | {text.pair for text in passages(kind)}  # type: ignore[arg-type]
    assert len(texts) >= 100
    assert not ours & (judges | set(load_texts())), "the goldens judge in the documentation"
    assert any(text.text.isascii() for text in texts)
    assert any("の" in text.text for text in texts)
