"""The converter and the engines against sentence-transformers, on all texts of the corpus."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sekisho.contract import Passage, Tokens
from sekisho.runtime.load import load_model
from sekisho.runtime.model import LocalModel
from sekisho.runtime.select import Choice
from tests.convert.conftest import Converted
from tests.engines import BF16, EVERY, FP32, OPENVINO_FP32
from tests.goldens_io import MINILM, TINY_NAMES, cosines, golden_texts, load_golden, run_texts, run_tokens

Load = Callable[[str, Choice], LocalModel]


@pytest.fixture(scope="module")
def load(converted: Converted) -> Load:
    loaded: dict[tuple[str, Choice], LocalModel] = {}

    def get(name: str, choice: Choice) -> LocalModel:
        if (name, choice) not in loaded:
            loaded[name, choice] = load_model(*converted[name], choice)
        return loaded[name, choice]

    return get


@FP32
def test_minilm_in_fp32_equals_the_golden(load: Load, choice: Choice) -> None:
    rows, _ = run_texts(load(MINILM, choice), golden_texts())
    agreement = cosines(rows, load_golden(MINILM).vectors)
    assert agreement.mean() >= 0.999999
    assert agreement.min() >= 0.99999
    np.testing.assert_allclose(rows, load_golden(MINILM).vectors, atol=1e-5)


@BF16
def test_minilm_in_bf16_is_as_near_as_bf16_comes(load: Load, choice: Choice) -> None:
    rows, _ = run_texts(load(MINILM, choice), golden_texts())
    agreement = cosines(rows, load_golden(MINILM).vectors)
    assert agreement.mean() >= 0.9999
    assert agreement.min() >= 0.9999
    assert agreement.min() < 0.99999999, "this is fp32: the precision hint has no effect"


@FP32
@pytest.mark.parametrize("name", TINY_NAMES)
def test_tiny_in_fp32_equals_the_golden(load: Load, choice: Choice, name: str) -> None:
    rows = run_texts(load(name, choice), golden_texts())[0]
    np.testing.assert_allclose(rows, load_golden(name).vectors, atol=2e-5, rtol=0)


@BF16
@pytest.mark.parametrize("name", TINY_NAMES)
def test_tiny_in_bf16_keeps_its_direction(load: Load, choice: Choice, name: str) -> None:
    """Weights of this size are far harder on bfloat16 than trained ones."""
    agreement = cosines(run_texts(load(name, choice), golden_texts())[0], load_golden(name).vectors)
    assert agreement.min() >= 0.999


@EVERY
@pytest.mark.parametrize("name", [MINILM, "tiny-bert-mean"])
def test_the_norm_output_is_what_the_rows_were_divided_by(load: Load, choice: Choice, name: str) -> None:
    model = load(name, choice)
    assert model.contract.outputs == ("embedding", "norm")
    rows, norms = run_texts(model, golden_texts()[:40])
    assert norms.shape == (40, 1)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5 if choice.precision == "fp32" else 1e-2)
    assert norms.min() > 0.1
    assert np.ptp(norms) > 0.01, "a constant is no norm"


def test_without_normalisation_there_is_no_norm_output(load: Load) -> None:
    model = load("tiny-bert-cls", OPENVINO_FP32)
    assert model.contract.outputs == ("embedding",)
    assert len(run_texts(model, ["a"])) == 1


@FP32
def test_neighbours_in_a_batch_change_nothing(load: Load, choice: Choice) -> None:
    """Each text alone, against batches of 64 in random company: padding must not be seen."""
    model = load(MINILM, choice)
    tokens = model.encode([Passage(text) for text in golden_texts()], "end")
    order = np.random.default_rng(5).permutation(len(tokens))
    # 64 texts as long as the longest take ONNX Runtime seconds, so it meets those that are short of a hundred tokens.
    chosen = [tokens[i] for i in order if choice.engine == "openvino" or len(tokens[i]) < 100][:128]
    assert len(chosen) == 128
    together = np.concatenate([model.run(0, chosen[start : start + 64])[0] for start in range(0, len(chosen), 64)])
    alone = np.concatenate([model.run(0, [one])[0] for one in chosen])
    assert cosines(together, alone).min() >= 0.999999


@FP32
def test_the_longest_text_in_company_of_the_shortest(load: Load, choice: Choice) -> None:
    model = load(MINILM, choice)
    longest = Tokens([101, *[2000 + i for i in range(254)], 102])
    shortest = Tokens([101, 102])
    together = model.run(0, [shortest, longest, shortest])[0]
    alone = run_tokens(model, [shortest, longest])[0]
    assert cosines(together, alone[[0, 1, 0]]).min() >= 0.999999
