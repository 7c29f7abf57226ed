"""Which files of a repository are fetched: a table of repositories as they are."""

from __future__ import annotations

import pytest

from sekisho.catalog.registry import Source, Spec, TokenizerChoice
from sekisho.catalog.wanted import lacking, lockable, pickles, unchosen, wanted

NOISE = [
    ".gitattributes", "README.md", "pytorch_model.bin", "tf_model.h5", "rust_model.ot", "flax_model.msgpack",
    "training_args.bin", "optimizer.pt", "scheduler.pkl", "modeling_custom.py", "openvino/openvino_model.xml",
    "openvino/openvino_model.bin", "eval/results.csv", "1_Pooling/notes.txt", "model.safetensors.part",
    "weights-model.safetensors", "onnx/model.onnx", "onnx/model_quint8_avx2.onnx", "vocab.json", "merges.txt",
    "../evil.json", "1_Pooling/../config.json", "original/model.safetensors",
]  # fmt: skip
SENTENCE = ["config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "tokenizer.json"]
INDEX = "model.safetensors.index.json"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def spec(**values: object) -> Spec:
    return Spec.model_validate({"name": "m", "source": Source(hub="org/m", revision="0" * 40)} | values)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([*SENTENCE, "model.safetensors"], [*SENTENCE, "model.safetensors"]),
        ([*SENTENCE, INDEX, *SHARDS], [*SENTENCE, INDEX, *SHARDS]),
        ([*SENTENCE, "model.safetensors", INDEX, *SHARDS], [*SENTENCE, "model.safetensors"]),
        ([*SENTENCE, *SHARDS], SENTENCE),
        (
            [*SENTENCE, "model.safetensors", "2_Dense/config.json", "2_Dense/model.safetensors",
             "2_Dense/pytorch_model.bin", "3_Normalize/config.json"],
            [*SENTENCE, "model.safetensors", "2_Dense/config.json", "2_Dense/model.safetensors",
             "3_Normalize/config.json"],
        ),
        (
            ["modules.json", "0_StaticEmbedding/model.safetensors", "0_StaticEmbedding/tokenizer.json"],
            ["modules.json", "0_StaticEmbedding/model.safetensors", "0_StaticEmbedding/tokenizer.json"],
        ),
        (
            ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt",
             "sentencepiece.bpe.model"],
            ["config.json", "model.safetensors", "tokenizer.json"],
        ),
        (
            ["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"],
            ["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"],
        ),
        (
            ["config.json", "model.safetensors", "sentencepiece.bpe.model", "added_tokens.json", "entity_vocab.json"],
            ["config.json", "model.safetensors", "sentencepiece.bpe.model", "added_tokens.json"],
        ),
        (
            ["config.json", "model.safetensors", "tokenizer.json", "colbert_linear.pt", "sparse_linear.pt"],
            ["config.json", "model.safetensors", "tokenizer.json"],
        ),
        ([], []),
    ],
)  # fmt: skip
def test_what_is_fetched(files: list[str], expected: list[str]) -> None:
    assert sorted(wanted(files + NOISE, spec())) == sorted(expected)


def test_small_files_come_first() -> None:
    names = wanted([*SENTENCE, "model.safetensors", "2_Dense/model.safetensors"], spec())
    assert names[0] == "config.json"
    assert names[-2:] == ["2_Dense/model.safetensors", "model.safetensors"]


@pytest.mark.parametrize("kind", ["bert_japanese", "mluke", "sentencepiece"])
def test_a_tokenizer_that_is_asked_for_brings_its_own_files(kind: str) -> None:
    files = ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "tokenizer_config.json", "spiece.model"]
    chosen = spec(tokenizer=TokenizerChoice.model_validate({"kind": kind}))
    assert {"vocab.txt", "tokenizer_config.json", "spiece.model"} <= set(wanted(files, chosen))


@pytest.mark.parametrize("heads", [["sparse"], ["colbert"], ["sparse", "colbert"]])
def test_the_pickles_of_heads_only_where_they_are_asked_for(heads: list[str]) -> None:
    files = [*SENTENCE, "model.safetensors", "colbert_linear.pt", "sparse_linear.pt"]
    assert {"colbert_linear.pt", "sparse_linear.pt"} <= set(wanted(files + NOISE, spec(heads=heads)))
    assert not {"pytorch_model.bin", "optimizer.pt"} & set(wanted(files + NOISE, spec(heads=heads)))


@pytest.mark.parametrize(
    ("onnx", "data"),
    [
        ("onnx/model.onnx", []),
        ("onnx/model.onnx", ["onnx/model.onnx_data"]),
        ("onnx/model.onnx", ["onnx/model.onnx.data"]),
        ("onnx/model.onnx", ["onnx/model.onnx_data", "onnx/model.onnx_data_1"]),
        ("onnx/model.onnx", ["onnx/model.onnx_data", "onnx/Constant_7_attr__value"]),
        ("model.onnx", ["model.onnx_data"]),
    ],
)
def test_one_ready_made_graph_with_its_data_and_no_weights(onnx: str, data: list[str]) -> None:
    others = ["onnx/model_fp16.onnx", "onnx/model_fp16.onnx_data", "onnx/model_q4.onnx", "other/model.onnx_data"]
    files = [*SENTENCE, "model.safetensors", onnx, *data, *others]
    assert sorted(wanted(files, spec(), onnx=onnx)) == sorted([*SENTENCE, onnx, *data])


def test_a_graph_whose_tokenizer_lies_beside_it() -> None:
    files = ["config.json", "onnx/model.onnx", "onnx/tokenizer.json", "model.safetensors"]
    assert sorted(wanted(files, spec(), onnx="onnx/model.onnx")) == sorted(files[:3])


VARIANTS = {"arm64": "onnx/arm.onnx", "avx2": "onnx/avx2.onnx"}


def test_the_lock_holds_every_variant_and_a_machine_leaves_the_others() -> None:
    files = [*SENTENCE, "model.safetensors", "onnx/arm.onnx", "onnx/avx2.onnx", "onnx/avx2.onnx_data", "onnx/o4.onnx"]
    chosen = spec(variants=VARIANTS)
    locked = lockable(files, chosen)
    assert set(files) - set(locked) == {"onnx/o4.onnx"}
    graphs = {"onnx/arm.onnx", "onnx/avx2.onnx", "onnx/avx2.onnx_data"}
    assert unchosen(locked, chosen, None) == graphs
    assert unchosen(locked, chosen, "onnx/avx2.onnx") == {"onnx/arm.onnx"}
    assert unchosen(locked, spec(), None) == set()


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ([*SENTENCE, "model.safetensors"], None),
        ([*SENTENCE, INDEX], None),
        (["0_StaticEmbedding/model.safetensors", "0_StaticEmbedding/tokenizer.json"], None),
        (["config.json", "model.safetensors", "vocab.txt"], None),
        (["config.json", "model.safetensors", "spiece.model"], None),
        (["model.safetensors", "tokenizer.json"], "config.json"),
        (["config.json", "tokenizer.json", "2_Dense/model.safetensors"], "model.safetensors"),
        (["config.json", "model.safetensors"], "tokenizer.json"),
    ],
)
def test_what_no_model_can_do_without(names: list[str], missing: str | None) -> None:
    assert lacking(names) == missing


def test_a_graph_that_is_not_there_is_lacking() -> None:
    assert lacking(SENTENCE, onnx="onnx/model.onnx") == "onnx/model.onnx"
    assert lacking([*SENTENCE, "onnx/model.onnx"], onnx="onnx/model.onnx") is None


def test_pickles_are_named_for_the_message() -> None:
    assert pickles(NOISE) == ["optimizer.pt", "pytorch_model.bin", "scheduler.pkl", "training_args.bin"]
