"""NV-Embed against transformers' Mistral with PyTorch's layers behind it, and against NumPy; tokens and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sekisho.contract import POOLING_MASK, Contract, Passage, Rows, Tokens
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.errors import ConversionFailed
from sekisho.runtime.load import load_model
from sekisho.runtime.model import LocalModel
from sekisho.runtime.select import Choice
from tests.checkpoints_nvembed import TINY_NVEMBEDS, TinyNvEmbed, tiny_nvembed, tiny_nvembed_weights, write_tiny_nvembed
from tests.convert.numpy_nvembed import vector
from tests.engines import FP32, ONNX_FP32
from tests.goldens.nvembed import FOLDER, load_golden, samples
from tests.goldens_io import cosines, run_tokens

NAMES = tuple(spec.name for spec in TINY_NVEMBEDS)
Prepared = tuple[Path, Contract]
Get = Callable[[str], Prepared]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Get:
    root, made = tmp_path_factory.mktemp("nvembed"), dict[str, Prepared]()

    def get(name: str) -> Prepared:
        if name not in made:
            source = write_tiny_nvembed(tiny_nvembed(name), root / "sources" / name)
            made[name] = root / name, convert_directory(source, root / name, Choices())
        return made[name]

    return get


def load(prepared: Prepared, choice: Choice = ONNX_FP32) -> LocalModel:
    return load_model(*prepared, choice)


def passages() -> list[Passage]:
    return [Passage(instruction + text, len(instruction)) for instruction, text in samples()]


def assert_near(rows: Rows, reference: Rows) -> None:
    """float32 against float32: what is left is the order of additions."""
    assert cosines(rows, reference).min() >= 0.99999
    np.testing.assert_allclose(rows, reference, rtol=0, atol=2e-5 * float(np.abs(reference).max()))


@FP32
@pytest.mark.parametrize("name", NAMES)
def test_text_and_instruction_give_the_vector_of_the_reference(prepared: Get, name: str, choice: Choice) -> None:
    model, golden = load(prepared(name), choice), load_golden(name)
    tokens = model.encode(passages(), "end")
    assert [list(one.ids) for one in tokens] == golden.ids
    assert [one.prompt for one in tokens] == (golden.left if tiny_nvembed(name).masks_instruction else [0] * 52)
    batched = run_tokens(model, tokens)[0]
    assert_near(batched, golden.outputs)
    alone = np.concatenate([model.run(0, [one])[0] for one in tokens[::5]])
    assert_near(alone, golden.outputs[::5])
    model.close()


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_what_the_paper_describes(name: str) -> None:
    """Golden and NumPy have no line in common. What the checkpoint's number format rounds away is in the tolerance."""
    spec, golden = tiny_nvembed(name), load_golden(name)
    weights = tiny_nvembed_weights(spec)
    rows = np.stack([vector(spec, weights, *one) for one in list(zip(golden.ids, golden.left, strict=True))[::6]])
    gap = {"F32": 2e-6, "F16": 5e-3, "BF16": 5e-2}[spec.dtype]
    np.testing.assert_allclose(rows, golden.outputs[::6], rtol=0, atol=gap * float(np.abs(rows).max()))


def test_the_contract(prepared: Get) -> None:
    contract = prepared("tiny-nvembed")[1]
    assert contract.family == "nvembed"
    assert contract.pooling == "latent"
    assert contract.normalized
    assert contract.inputs == ("input_ids", "attention_mask", "places", "slots", POOLING_MASK)
    assert contract.outputs == ("embedding", "norm")
    assert contract.max_tokens == 100
    assert contract.origins["pooling"] == contract.origins["normalized"] == "config.json"
    assert POOLING_MASK not in prepared("tiny-nvembed-whole")[1].inputs
    assert not prepared("tiny-nvembed-plain")[1].normalized


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_are_those_of_the_checkpoint(prepared: Get, name: str) -> None:
    """Though the graph holds fewer numbers, since the latents' keys and values are folded into its matrices."""
    weights = tiny_nvembed_weights(tiny_nvembed(name))
    assert prepared(name)[1].parameters == sum(tensor.size for tensor in weights.values())


def test_the_instruction_is_read_though_it_is_not_averaged(prepared: Get) -> None:
    model = load(prepared("tiny-nvembed"))
    ids = [1, 40, 41, 42, 43, 44, 2]
    other = [1, 40, 90, 42, 43, 44, 2]
    kept, masked, changed = (
        model.run(0, [Tokens(own, prompt=count)])[0] for own, count in ((ids, 0), (ids, 3), (other, 3))
    )
    assert np.abs(kept - masked).max() > 1e-3
    assert np.abs(masked - changed).max() > 1e-3
    model.close()


def test_an_instruction_that_fills_the_model_leaves_nothing(prepared: Get) -> None:
    model = load(prepared("tiny-nvembed"))
    prompt = "find " * 200
    (tokens,) = model.encode([Passage(f"{prompt}東京", len(prompt))], "end")
    assert len(tokens) == tokens.prompt == 100
    assert not model.run(0, [tokens])[0].any()
    model.close()


def test_what_the_converter_is_told_of_a_real_checkpoint(tmp_path: Path) -> None:
    """Beside sentence-transformers' files, whose mean is the one the head ends in."""
    source = write_tiny_nvembed(tiny_nvembed("tiny-nvembed"), tmp_path / "source")
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    (source / "modules.json").write_text(json.dumps(modules))
    (source / "1_Pooling").mkdir()
    pooling = source / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_mean_tokens": True, "include_prompt": False}))
    choices = Choices(pooling="latent", normalize=True, max_tokens=90, dimensions=36)
    contract = convert_directory(source, tmp_path / "made", choices)
    assert (contract.pooling, contract.max_tokens) == ("latent", 90)
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True}))
    with pytest.raises(ConversionFailed, match="is no mean"):
        convert_directory(source, tmp_path / "other", replace(choices, pooling=None))


@pytest.mark.parametrize(
    ("changes", "choices", "part"),
    [
        ({"mask_type": "c"}, {}, "mask_type"),
        ({"padding_side": "left"}, {}, "padding_side"),
        ({"latent_attention_config": {"hidden_dim": 37}}, {}, "hidden_dim is 37, the decoder's hidden_size 36"),
        ({"latent_attention_config": 7}, {}, "latent_attention_config"),
        ({"text_config": {"hidden_size": 40}}, {}, "40"),
        ({}, {"pooling": "mean"}, "pooling 'mean'"),
        ({}, {"kind": "reranker"}, "no head for pairs"),
    ],
)
def test_what_is_another_architecture_is_refused(
    changes: dict[str, Any], choices: dict[str, Any], part: str, tmp_path: Path
) -> None:
    source = write_tiny_nvembed(tiny_nvembed("tiny-nvembed"), tmp_path / "source")
    path = source / "config.json"
    config = json.loads(path.read_text("utf-8"))
    for key, value in changes.items():
        config[key] = config[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(ConversionFailed, match=part):
        convert_directory(source, tmp_path / "made", Choices(**choices))


def test_a_tokenizer_without_the_closing_token_is_refused(tmp_path: Path) -> None:
    source = write_tiny_nvembed(tiny_nvembed("tiny-nvembed"), tmp_path / "source")
    path = source / "tokenizer.json"
    path.write_text(path.read_text("utf-8").replace('"</s>"', '"<eos>"'), "utf-8")
    with pytest.raises(ConversionFailed, match=r"tokenizer\.json has no token '</s>'"):
        convert_directory(source, tmp_path / "made", Choices())


@pytest.mark.parametrize(
    "changes",
    [
        {"num_cross_heads": 1, "cross_dim_head": 15},
        {"num_cross_heads": 5, "cross_dim_head": 3},
        {"output_normalize": False},
    ],
)
def test_the_goldens_tell_a_wrong_value(changes: dict[str, Any], tmp_path: Path) -> None:
    spec: TinyNvEmbed = tiny_nvembed("tiny-nvembed")
    source = write_tiny_nvembed(replace(spec, latent=dict(spec.latent) | changes), tmp_path / "source")
    model = load((tmp_path / "made", convert_directory(source, tmp_path / "made", Choices())))
    golden = load_golden(spec.name)
    rows = run_tokens(model, model.encode(passages(), "end"))[0]
    model.close()
    assert np.abs(rows - golden.outputs).max() > 1e-2


def test_goldens_are_small() -> None:
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(NAMES)
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 1 << 16
