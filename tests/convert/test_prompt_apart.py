"""`include_prompt: false`: the prompt is read and stays out of the vector, as sentence-transformers leaves it out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from sekisho.arrays import pad
from sekisho.contract import POOLING_MASK, Contract, Passage, Tokens, Truncation
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.runtime.load import load_model
from sekisho.runtime.select import Choice
from sekisho.runtime.tokenizer import TextTokenizer
from tests.checkpoints_decoders import tiny_decoder, write_tiny_decoder
from tests.engines import FP32
from tests.goldens.prompts import FOLDER, NAMES, PROMPTS, load_golden, texts, write
from tests.goldens_io import cosines, run_tokens

Prepared = tuple[Path, Contract]
Get = Callable[[str], Prepared]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Get:
    root, made = tmp_path_factory.mktemp("prompts"), dict[str, Prepared]()

    def get(name: str) -> Prepared:
        if name not in made:
            source = write(name, root / "sources" / name)
            made[name] = root / name, convert_directory(source, root / name, Choices())
        return made[name]

    return get


@FP32
@pytest.mark.parametrize("name", NAMES)
def test_every_prompt_and_text_gives_the_vector_of_the_reference(prepared: Get, name: str, choice: Choice) -> None:
    """Texts of all prompts share batches: what is left out is a row's own matter."""
    model, golden = load_model(*prepared(name), choice), load_golden(name)
    passages = [Passage(prompt + text, len(prompt)) for prompt in PROMPTS for text in texts()]
    rows = run_tokens(model, model.encode(passages, "end"))[0]
    model.close()
    reference = golden.reshape(len(passages), -1)
    vanished = ~reference.any(axis=1)  # the prompt fills the model
    np.testing.assert_array_equal(~rows.any(axis=1), vanished)
    assert cosines(rows[~vanished], reference[~vanished]).min() >= 0.99999
    np.testing.assert_allclose(rows, reference, rtol=0, atol=2e-5 * float(np.abs(reference).max()))


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_asks_for_what_counts(prepared: Get, name: str) -> None:
    assert prepared(name)[1].inputs[-1] == POOLING_MASK


def test_a_prompt_is_part_of_the_vector_unless_the_checkpoint_says_otherwise(tmp_path: Path) -> None:
    source = write_tiny_decoder(tiny_decoder("tiny-mistral-mean"), tmp_path / "source")
    contract = convert_directory(source, tmp_path / "made", Choices())
    assert POOLING_MASK not in contract.inputs
    (tokens,) = TextTokenizer(tmp_path / "made", contract).encode([Passage("query: one", 7)], "end")
    assert tokens.prompt == 0


def test_the_last_token_is_never_the_prompts(tmp_path: Path) -> None:
    """sarashina-embedding's files say `include_prompt: false`, and it changes nothing."""
    source = write_tiny_decoder(tiny_decoder("tiny-qwen3-last"), tmp_path / "source")
    path = source / "1_Pooling" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"include_prompt": False}), "utf-8")
    assert POOLING_MASK not in convert_directory(source, tmp_path / "made", Choices()).inputs


@pytest.mark.parametrize(
    ("name", "prompt", "count"),
    [
        ("tiny-bert-mean", "", 0),
        ("tiny-bert-mean", "query: ", 1 + 2),
        ("tiny-bert-max", "find " * 70, 63),  # all but the closing token
        ("around", "query: ", 1 + 2),
        ("before", "query: ", 1 + 2),
        ("before", "find " * 70, 100),
        ("behind", "query: ", 2),
        ("behind", "find " * 70, 79),
    ],
)
def test_how_many_tokens_are_the_prompts(prepared: Get, name: str, prompt: str, count: int) -> None:
    tokenizer = TextTokenizer(*prepared(name))
    for truncation in get_args(Truncation)[:2]:
        (tokens,) = tokenizer.encode([Passage(f"{prompt}one two", len(prompt))], truncation)
        assert tokens.prompt == count


def test_a_prompt_is_tokenised_once(prepared: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, contract = prepared("tiny-bert-mean")
    tokenizer, seen = TextTokenizer(directory, contract), list[str]()
    encode = tokenizer._splitter.encode

    def recording(given: list[str]) -> list[list[int]]:
        seen.extend(given)
        return encode(given)

    monkeypatch.setattr(tokenizer._splitter, "encode", recording)
    passages = [Passage(f"query: text {number}", 7) for number in range(20)]
    counts = {one.prompt for one in tokenizer.encode(passages, "end") + tokenizer.encode(passages[:1], "end")}
    assert len(counts) == 1
    assert seen.count("query: ") == 1


def test_a_clients_own_ids_have_no_prompt(prepared: Get) -> None:
    directory, contract = prepared("tiny-bert-mean")
    (tokens,) = TextTokenizer(directory, contract).encode([Passage("", ids=(5, 6, 7))], "end")
    assert tokens.prompt == 0


def test_padding_and_prompt_are_both_left_out() -> None:
    batch = [Tokens([7, 8, 9], prompt=2), Tokens([5]), Tokens([4, 3], prompt=9)]
    made = pad(batch, 0, ("input_ids", "attention_mask", POOLING_MASK))
    assert made["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    assert made[POOLING_MASK].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert made[POOLING_MASK].dtype == np.int32
    assert POOLING_MASK not in pad([replace(one, prompt=0) for one in batch], 0, ("input_ids", "attention_mask"))


def test_every_checkpoint_has_its_golden() -> None:
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(NAMES)
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 1 << 17
