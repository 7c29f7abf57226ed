"""Which value wins, where it came from, and a target that is complete or absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sekisho.contract import CONTRACT_FILE, GRAPH_FILE, TOKENIZER_FILE, WEIGHTS_FILE, Contract
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.convert.families import FAMILIES, family_for
from sekisho.errors import ConversionFailed
from tests.convert.conftest import MakeSource, Source

FLAGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "last": "pooling_mode_lasttoken",
    "weighted_mean": "pooling_mode_weightedmean_tokens",
}
POOLING = "1_Pooling/config.json"


def flags(*names: str) -> dict[str, Any]:
    return {flag: flag in names for flag in [*FLAGS.values(), "pooling_mode_mean_sqrt_len_tokens"]}


@pytest.mark.parametrize(("name", "flag"), FLAGS.items())
def test_each_flag_of_the_pooling_config(source: Source, name: str, flag: str) -> None:
    source.write(POOLING, json.dumps({"word_embedding_dimension": 40} | flags(flag)))
    _, contract = source.convert()
    assert contract.pooling == name
    assert contract.origins["pooling"] == POOLING


@pytest.mark.parametrize(
    ("named", "pooling"),
    [
        ("cls", "cls"),
        ("mean", "mean"),
        ("max", "max"),
        ("lasttoken", "last"),
        ("weightedmean", "weighted_mean"),
        ("weighted_mean", "weighted_mean"),
    ],
)
def test_the_newer_pooling_config_names_its_mode(source: Source, named: str, pooling: str) -> None:
    """By the names of sentence-transformers 5.7, or by ours."""
    source.write(POOLING, json.dumps({"pooling_mode": named}))
    assert source.convert()[1].pooling == pooling


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (flags("pooling_mode_cls_token", "pooling_mode_mean_tokens"), "pooling_mode_mean_tokens"),
        (flags("pooling_mode_mean_sqrt_len_tokens"), "pooling_mode_mean_sqrt_len_tokens"),
        (flags("pooling_mode_mean_tokens", "pooling_mode_mean_sqrt_len_tokens"), "pooling_mode_mean_sqrt_len_tokens"),
        ({"pooling_mode": "attention"}, "attention"),
        ({"pooling_mode": "latent"}, "latent"),
        ({}, "one of"),
    ],
)
def test_a_pooling_we_do_not_have_is_named(source: Source, config: dict[str, Any], part: str) -> None:
    source.write(POOLING, json.dumps(config))
    with pytest.raises(ConversionFailed, match=r"1_Pooling/config\.json") as caught:
        source.convert()
    assert part in caught.value.message


def test_no_pooling_at_all_says_what_to_set(source: Source) -> None:
    source.remove("modules.json")
    with pytest.raises(ConversionFailed, match=r"1_Pooling.*`pooling` in models\.yaml.*weighted_mean"):
        source.convert()


def test_no_pooling_module_but_a_choice(source: Source) -> None:
    source.remove("modules.json")
    _, contract = source.convert(pooling="cls")
    assert contract.pooling == "cls"
    assert contract.normalized is False, "without modules.json nothing asks for normalisation"


def test_a_pooling_that_does_not_exist_is_not_taken_for_the_mean(source: Source) -> None:
    with pytest.raises(ConversionFailed, match=r"'average'.*weighted_mean"):
        source.convert(pooling="average")


@pytest.mark.parametrize("kind", ["WordWeights", "LayerNorm"])
def test_a_module_that_the_graph_would_lack_is_refused(source: Source, kind: str) -> None:
    """Left out in silence, its vectors would be others than the author's."""
    modules = json.loads((source.directory / "modules.json").read_text("utf-8"))
    extra = {"idx": 2, "name": "2", "path": f"2_{kind}", "type": f"sentence_transformers.models.{kind}"}
    source.write("modules.json", json.dumps([*modules[:2], extra, *modules[2:]]))
    with pytest.raises(ConversionFailed, match=kind):
        source.convert()


@pytest.mark.parametrize(
    ("name", "choice", "normalized", "origin"),
    [
        ("tiny-bert-mean", None, True, "modules.json"),
        ("tiny-bert-mean", False, False, "models.yaml"),
        ("tiny-bert-cls", None, False, "modules.json"),
        ("tiny-bert-cls", True, True, "models.yaml"),
    ],
)
def test_normalisation(make_source: MakeSource, name: str, choice: bool | None, normalized: bool, origin: str) -> None:
    _, contract = make_source(name).convert(normalize=choice)
    assert contract.normalized is normalized
    assert contract.outputs == (("embedding", "norm") if normalized else ("embedding",))
    assert contract.origins["normalized"] == origin


@pytest.mark.parametrize(
    ("stated", "choice", "tokens", "origin"),
    [
        (300, None, 300, "sentence_bert_config.json"),
        (9999, None, 512, "sentence_bert_config.json"),
        (300, 400, 400, "models.yaml"),
        (300, 512, 512, "models.yaml"),
        (None, None, 512, "config.json"),
    ],
)
def test_the_longest_input(source: Source, stated: int | None, choice: int | None, tokens: int, origin: str) -> None:
    source.edit("sentence_bert_config.json", max_seq_length=stated)
    _, contract = source.convert(max_tokens=choice)
    assert contract.max_tokens == tokens
    assert contract.origins["max_tokens"] == origin


def test_more_tokens_than_positions_are_refused(source: Source) -> None:
    with pytest.raises(ConversionFailed, match=r"513.*512 positions"):
        source.convert(max_tokens=513)


def test_another_width_than_the_registry_says_is_refused(source: Source) -> None:
    with pytest.raises(ConversionFailed, match=r"dimensions 384.*gives 40"):
        source.convert(dimensions=384)


def test_the_right_width_is_accepted(source: Source) -> None:
    assert source.convert(dimensions=40)[1].width == 40


def test_a_named_family_stands_in_for_a_missing_model_type(source: Source) -> None:
    source.edit("config.json", model_type=None)
    _, contract = source.convert(family="bert")
    assert contract.family == "bert"
    assert contract.origins["family"] == "models.yaml"


def test_an_unknown_family_is_refused(source: Source) -> None:
    with pytest.raises(ConversionFailed, match="'gpt'"):
        source.convert(family="gpt")


def test_a_reranker_needs_its_head(source: Source) -> None:
    with pytest.raises(ConversionFailed, match=r"classifier\.weight"):
        source.convert(kind="reranker")


def test_every_family_is_found_by_each_of_its_types() -> None:
    found = {model_type: family_for(model_type) for family in FAMILIES for model_type in family.model_types}
    assert {family.name for family in found.values()} == {family.name for family in FAMILIES}
    assert len(found) == sum(len(family.model_types) for family in FAMILIES), "two families claim one model_type"


def test_what_is_made_is_what_the_contract_promises(source: Source) -> None:
    directory, contract = source.convert()
    assert {path.name for path in directory.iterdir()} == {GRAPH_FILE, WEIGHTS_FILE, TOKENIZER_FILE, CONTRACT_FILE}
    assert Contract.read(directory) == contract
    assert (contract.vocabulary, contract.pad_id, contract.kind) == (1021, 0, "embedding")
    assert (directory / TOKENIZER_FILE).read_bytes() == (source.directory / TOKENIZER_FILE).read_bytes()


def test_progress_rises_to_the_whole(source: Source, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    convert_directory(source.directory, tmp_path / "made", Choices(), lambda done, size: seen.append((done, size)))
    done, sizes = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert len(set(done)) > 10
    assert set(sizes) == {done[-1]}
    assert done[-1] >= (tmp_path / "made" / WEIGHTS_FILE).stat().st_size * 0.9


def test_an_interruption_leaves_nothing(source: Source, tmp_path: Path) -> None:
    def interrupt(done: int, size: int) -> None:
        if done > size / 2:
            raise KeyboardInterrupt

    target = tmp_path / "somewhere" / "made"
    with pytest.raises(KeyboardInterrupt):
        convert_directory(source.directory, target, Choices(), interrupt)
    assert list(target.parent.iterdir()) == []


def test_a_target_that_exists_is_not_touched(source: Source, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    with pytest.raises(ConversionFailed, match="exists already"):
        convert_directory(source.directory, tmp_path / "mine", Choices())
    assert (tmp_path / "mine" / "file").read_text() == "precious"


def test_a_source_that_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="is no directory"):
        convert_directory(tmp_path / "absent", tmp_path / "made", Choices())
