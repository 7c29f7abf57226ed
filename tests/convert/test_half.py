"""Graphs in fp16, for cards, run by the CPU: how near every family stays, what stays fp32, what is refused.

fp16 keeps eleven bits, so a product is off by about 1/4,000 and a layer by a few of these: a cosine of five nines. The
CPU provider rounds at every operator as a card does, and adds in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from sekisho.contract import CONTRACT_FILE, GRAPH_FILE, WEIGHTS_FILE, Contract, Passage, Quality, Rows
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.convert.gate import HALF, short_of
from sekisho.convert.gate_texts import passages
from sekisho.convert.half import MASKED, halve, in_half, rounded, unfit
from sekisho.convert.proving import make_half
from sekisho.errors import ConversionFailed
from sekisho.runtime.load import load_model
from sekisho.runtime.select import Choice
from tests.checkpoints_decoders import TINY_STATICS, tiny_decoder, write_tiny_decoder, write_tiny_static
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder
from tests.checkpoints_m3 import TINY_M3S, TinyM3, write_tiny_m3
from tests.goldens_io import MINILM, cosines

CPU_FP32 = Choice("onnxruntime", "fp32", lanes=1, threads=2, reason="test")
#: Every encoder family, with rerankers and windows; decoders and Gemma, which nobody gets unasked.
ENCODERS = (
    "bert-reranker", "xlm-roberta-cls", "xlm-roberta-reranker", "distilbert-mean", "luke-mean", "modernbert-mean",
    "modernbert-reranker-cls", "gte-cls", "gte-reranker", "deberta-mean", "deberta-reranker",
)  # fmt: skip
DECODERS = ("tiny-llama-last", "tiny-mistral-window", "tiny-qwen3-last", "tiny-qwen3-answers", "tiny-gemma-both-ways")
LEAST_COSINE = 0.99995
#: Of a score, in spreads of the scores; bfloat16 is allowed 0.15.
LOGIT = 0.02


@dataclass(frozen=True)
class Pair:
    """A converted checkpoint, and the same in fp16."""

    single: Path
    half: Path
    contract: Contract

    def rows(self, texts: list[Passage], *, half: bool, batch: int | None = None) -> list[Rows]:
        """Every output; texts as one batch, or in batches of so many."""
        contract = replace(self.contract, numbers="half") if half else self.contract
        model = load_model(self.half if half else self.single, contract, CPU_FP32)
        try:
            tokens = model.encode(texts, "end")
            size = batch or len(tokens)
            parts = [model.run(0, tokens[start : start + size]) for start in range(0, len(tokens), size)]
            return [np.concatenate(part) for part in zip(*parts, strict=True)]
        finally:
            model.close()


Get = Callable[[str], Pair]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Get:
    root, made = tmp_path_factory.mktemp("half"), dict[str, Pair]()

    def get(name: str) -> Pair:
        if name not in made:
            single, half = root / name, root / f"{name}-half"
            contract = _convert(name, root / "sources" / name, single)
            made[name] = Pair(single, _halved(single, half), contract)
        return made[name]

    return get


def _halved(single: Path, half: Path) -> Path:
    """The whole directory with its graph in fp16."""
    _copy(single, half)
    halve(single, half)
    return half


def _convert(name: str, source: Path, target: Path) -> Contract:
    if name in ENCODERS:
        spec = tiny_encoder(name)
        made = write_tiny_encoder(spec, source)
        return convert_directory(made, target, Choices(kind=spec.kind, family=spec.family))
    decoder = tiny_decoder(name)
    return convert_directory(write_tiny_decoder(decoder, source), target, Choices(kind=decoder.kind))


def texts(contract: Contract, count: int = 48) -> list[Passage]:
    """Short and long, so that rows are padded, and some of more than one window."""
    return passages(contract.kind)[:count]


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_every_family_stays_near(pair: Get, name: str) -> None:
    it = pair(name)
    single, half = (it.rows(texts(it.contract), half=each)[0] for each in (False, True))
    assert np.isfinite(half).all()
    if it.contract.kind == "reranker":
        assert np.abs(half - single).max() <= LOGIT * max(float(single.std()), 1e-3)
    else:
        assert cosines(half, single).min() >= LEAST_COSINE


@pytest.mark.parametrize("name", ["modernbert-mean", "deberta-mean", "xlm-roberta-cls", "gte-cls"])
def test_a_text_alone_and_beside_longer_ones_is_the_same(pair: Get, name: str) -> None:
    it = pair(name)
    mixed = texts(it.contract, 24)
    together, alone = (it.rows(mixed, half=True, batch=size)[0] for size in (None, 1))
    assert cosines(together, alone).min() >= LEAST_COSINE


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_the_graph_is_valid_takes_int32_gives_float32_and_is_half_as_large(pair: Get, name: str) -> None:
    it = pair(name)
    onnx.checker.check_model(str(it.half / GRAPH_FILE))
    graph = ir.load(it.half / GRAPH_FILE).graph
    assert {value.dtype for value in graph.inputs} == {ir.DataType.INT32}
    assert {value.dtype for value in graph.outputs} == {ir.DataType.FLOAT}
    assert [value.name for value in graph.outputs] == [
        value.name for value in ir.load(it.single / GRAPH_FILE).graph.outputs
    ]
    sizes = [_bytes(directory) for directory in (it.half, it.single)]
    assert sizes[0] <= 0.62 * sizes[1], "tables and products, but not the heads"
    assert all(value.uses() for value in graph.initializers.values())


def _bytes(directory: Path) -> int:
    """Of the weights that are tables and matrices."""
    tensors = [value.const_value for value in ir.load(directory / GRAPH_FILE).graph.initializers.values()]
    return sum(tensor.nbytes for tensor in tensors if tensor is not None and len(tensor.shape) > 1)


@pytest.mark.parametrize(
    ("name", "attentions"),
    [("bert-reranker", 2), ("distilbert-mean", 2), ("deberta-mean", 2), ("gte-cls", 2), ("tiny-llama-last", 2)],
)
def test_attention_is_one_operator_and_its_mask_is_made_once(pair: Get, name: str, attentions: int) -> None:
    nodes = list(ir.load(pair(name).half / GRAPH_FILE).graph)
    fused = [node for node in nodes if node.op_type == "Attention"]
    assert len(fused) >= attentions
    assert not [node for node in nodes if node.op_type == "Softmax"]
    masks = {node.inputs[3] for node in fused}
    assert len(masks) == (len(fused) if name.startswith("deberta") else 1), "DeBERTa's positions are each layer's own"


def test_windows_are_fused_too(pair: Get) -> None:
    nodes = list(ir.load(pair("modernbert-mean").half / GRAPH_FILE).graph)
    assert not [node for node in nodes if node.op_type == "Softmax"]
    assert len({node.inputs[3] for node in nodes if node.op_type == "Attention"}) == 2, "one for windows, one for all"


@pytest.mark.parametrize("name", ["modernbert-mean", "tiny-gemma-both-ways", "tiny-qwen3-last"])
def test_sums_over_many_values_are_fp32(pair: Get, name: str) -> None:
    for node in ir.load(pair(name).half / GRAPH_FILE).graph:
        if node.op_type in {"ReduceSum", "ReduceMean", "ReduceL2", "ReduceMax", "Sqrt", "Reciprocal"}:
            read = node.inputs[0]
            assert read is not None
            assert read.dtype in {ir.DataType.FLOAT, ir.DataType.INT64}, node.name


def test_what_stands_for_minus_infinity_stays_within_range() -> None:
    weights = np.array([[-3.0e38, -1e9, 0.0, 1.5, 6.1e4, 5.96e-8]], np.float32)
    assert rounded(weights).tolist() == [[-MASKED, -MASKED, 0.0, 1.5, MASKED, np.float16(5.96e-8)]]
    assert np.isfinite(np.float16(-MASKED) + np.float16(-MASKED)), "two masks on one position"


@pytest.mark.parametrize("spec", TINY_M3S, ids=lambda spec: spec.name)
def test_weights_and_vectors_of_tokens_come_out_too(tmp_path: Path, spec: TinyM3) -> None:
    source = write_tiny_m3(spec, tmp_path / "source")
    choices = Choices(heads=("sparse", "colbert"))
    single, half = tmp_path / "single", tmp_path / "half"
    contract = convert_directory(source, single, choices)
    _halved(single, half)
    outputs = []
    for directory in (single, half):
        model = load_model(directory, contract, CPU_FP32)
        outputs.append(model.run(0, model.encode(texts(contract, 6), "end"), contract.heads))
        model.close()
    for one, other in zip(*outputs, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, atol=0.01 * float(np.abs(one).max()))


def test_a_model_without_products_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "static"
    convert_directory(write_tiny_static(TINY_STATICS[0], tmp_path / "source"), directory, Choices())
    (tmp_path / "half").mkdir()
    with pytest.raises(ConversionFailed, match="has no products"):
        halve(directory, tmp_path / "half")
    assert not list((tmp_path / "half").iterdir())


def test_nothing_is_done_twice(pair: Get) -> None:
    model = ir.load(pair("bert-reranker").half / GRAPH_FILE)
    before = [node.op_type for node in model.graph]
    in_half(model)
    assert [node.op_type for node in model.graph] == before


def test_minilm_with_its_real_weights_passes(converted: dict[str, tuple[Path, Contract]], tmp_path: Path) -> None:
    source, _ = converted[MINILM]
    directory = _copy(source, tmp_path / "minilm")
    quality = make_half(directory, MINILM, on_the_cpu, asked=False)
    assert quality is not None
    assert short_of(quality, HALF) is None
    assert quality.cosine_min > 0.99999
    made = Contract.read(directory)
    assert (made.numbers, made.quality, made.origins["numbers"]) == ("half", quality, "the device")
    assert sorted(path.name for path in directory.iterdir()) == sorted(path.name for path in source.iterdir())


def _copy(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def on_the_cpu(directory: Path, contract: Contract, given: Sequence[Passage], served: bool, alone: bool) -> Rows:
    """`proving.Run`, without a card; in batches of 32."""
    model = load_model(directory, contract, CPU_FP32)
    try:
        tokens = model.encode(given, "end")
        size = 1 if alone else 32
        return np.concatenate([model.run(0, tokens[at : at + size])[0] for at in range(0, len(tokens), size)])
    finally:
        model.close()


@pytest.mark.parametrize("family", ["gemma", "decoder", "nvembed"])
def test_families_that_leave_the_range_are_not_made_half_unasked(pair: Get, tmp_path: Path, family: str) -> None:
    directory = _copy(pair("tiny-gemma-both-ways").single, tmp_path / "model")
    replace(Contract.read(directory), family=family).write(directory)
    before = (directory / GRAPH_FILE).read_bytes()
    assert make_half(directory, "tiny", on_the_cpu, asked=False) is None
    contract = Contract.read(directory)
    assert (contract.numbers, contract.origins["half"]) == ("float", unfit(family))
    assert (directory / GRAPH_FILE).read_bytes() == before


def off_when_served(directory: Path, contract: Contract, given: Sequence[Passage], served: bool, alone: bool) -> Rows:
    """A device whose fp16 overflows on one text."""
    rows = on_the_cpu(directory, contract, given, served, alone)
    if served:
        rows[0] = np.nan
    return rows


def test_one_text_that_is_no_number_keeps_the_float_graph(pair: Get, tmp_path: Path) -> None:
    directory = _copy(pair("modernbert-mean").single, tmp_path / "model")
    before = {name: (directory / name).read_bytes() for name in (GRAPH_FILE, WEIGHTS_FILE)}
    assert make_half(directory, "tiny", off_when_served, asked=False) is None
    contract = Contract.read(directory)
    assert contract.numbers == "float"
    assert "fp16 is too far off: mean cosine nan" in contract.origins["half"]
    assert {name: (directory / name).read_bytes() for name in before} == before
    assert {path.name for path in directory.iterdir()} >= {CONTRACT_FILE, *before}
    assert not [path for path in directory.iterdir() if path.name.startswith(".")]


def test_asked_for_it_is_refused_with_the_figures_or_taken_by_force(pair: Get, tmp_path: Path) -> None:
    directory = _copy(pair("modernbert-mean").single, tmp_path / "refused")
    with pytest.raises(ConversionFailed, match="fp16 changes 'tiny' too much against fp32: mean cosine nan"):
        make_half(directory, "tiny", off_when_served, asked=True)
    forced = _copy(pair("modernbert-mean").single, tmp_path / "forced")
    quality = make_half(forced, "tiny", off_when_served, asked=True, force=True)
    assert isinstance(quality, Quality)
    assert quality.forced
    assert Contract.read(forced).origins["numbers"] == "models.yaml"
