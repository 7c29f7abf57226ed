"""Every family in bfloat16: finite, blind to padding, and as near to float32 as its eight bits allow.

A rounding to bfloat16 is off by at most 2^-9 of a value. A layer rounds some ten times, errors of either sign: the few
layers here drift by about 2^-9 · √(10 · layers), one per cent of a vector's length, which is a cosine of 0.9999. Where
attention is sharp more is lost: a score of 40 is off by 0.08, and its share by as many per cent. Random weights make it
sharper than training does. So the mean of a checkpoint's texts must reach 0.9995, and each of them 0.998. Whether masks
are masks needs no bound: what they hide changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sekisho.arrays import Inputs, pad, where
from sekisho.contract import PLACES, SLOTS, Contract, Pooling, Rows, Tokens, even_length
from sekisho.convert.build import convert_directory
from sekisho.convert.decisions import Choices
from sekisho.runtime.machine import this_machine
from sekisho.runtime.openvino import OpenVinoSession
from tests.checkpoints_decoders import tiny_decoder, write_tiny_decoder
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder
from tests.checkpoints_nvembed import tiny_nvembed, write_tiny_nvembed
from tests.goldens import decoders, encoders, nvembed
from tests.goldens_io import cosines

pytestmark = pytest.mark.skipif(
    "BF16" not in this_machine().formats, reason="this CPU does not compute in bfloat16: nothing here would be tested"
)

#: Each family, and within it each kind of mask, of position and of head.
ENCODERS = (
    "bert-reranker", "xlm-roberta-cls", "xlm-roberta-reranker", "distilbert-mean", "distilbert-reranker", "luke-mean",
    "modernbert-mean", "modernbert-mean-5", "modernbert-reranker-cls", "gte-cls", "gte-reranker", "deberta-mean",
    "deberta-reranker",
)  # fmt: skip
DECODERS = (
    "tiny-llama-last", "tiny-llama-biases", "tiny-llama-both-ways", "tiny-mistral-window", "tiny-qwen2-window",
    "tiny-qwen3-last", "tiny-qwen3-yarn", "tiny-qwen3-answers", "tiny-qwen3-scores", "tiny-gemma-both-ways",
    "tiny-gemma-even-window", "tiny-gemma-causal",
)  # fmt: skip
NVEMBEDS = ("tiny-nvembed", "tiny-nvembed-plain")
LONG = 1000
MEAN, LEAST = 0.9995, 0.998
#: Of a score, in spreads of the scores: a logit is one number, whose error nothing averages out.
LOGIT = 0.15


@dataclass(frozen=True)
class Case:
    """A prepared checkpoint, its inputs in one rectangle, and the float32 reference."""

    directory: Path
    contract: Contract
    inputs: Inputs
    outputs: Rows


def rectangle(contract: Contract, ids: list[list[int]], types: list[list[int]], left: list[int]) -> Inputs:
    batch = [
        Tokens(own, type_ids=types[row] if types else None, prompt=left[row] if left else 0)
        for row, own in enumerate(ids)
    ]
    return pad(batch, contract.pad_id, contract.inputs)


def encoder(name: str, root: Path) -> Case:
    spec = tiny_encoder(name)
    source = write_tiny_encoder(spec, root / "source")
    contract = convert_directory(source, root / "made", Choices(kind=spec.kind, family=spec.family))
    golden = encoders.load_golden(spec)
    ids, types = [one.ids for one in golden.inputs], [one.types for one in golden.inputs]
    return Case(root / "made", contract, rectangle(contract, ids, types, []), golden.outputs)


def decoder(name: str, root: Path) -> Case:
    spec = tiny_decoder(name)
    contract = convert_directory(write_tiny_decoder(spec, root / "source"), root / "made", Choices(kind=spec.kind))
    golden = decoders.load_golden(name)
    outputs = golden.outputs[:, 1:] if spec.answers else golden.outputs
    return Case(root / "made", contract, rectangle(contract, golden.ids, [], []), outputs)


def latent(name: str, root: Path) -> Case:
    contract = convert_directory(write_tiny_nvembed(tiny_nvembed(name), root / "source"), root / "made", Choices())
    golden = nvembed.load_golden(name)
    return Case(root / "made", contract, rectangle(contract, golden.ids, [], golden.left), golden.outputs)


Make = Callable[[str, Path], Case]
CASES = [
    (make, name) for make, names in ((encoder, ENCODERS), (decoder, DECODERS), (latent, NVEMBEDS)) for name in names
]


@pytest.mark.parametrize(("make", "name"), CASES, ids=[name for _, name in CASES])
def test_every_family_stays_near_float32_and_does_not_see_padding(make: Make, name: str, tmp_path: Path) -> None:
    case = make(name, tmp_path)
    session = OpenVinoSession(case.directory, case.contract.outputs, 1, 2, "bf16")
    lane = OpenVinoSession(case.directory, case.contract.outputs, 1, 1, "bf16")
    together = session.run(0, case.inputs)[0]
    assert_near(together, case.outputs, case.contract)
    assert np.abs(together - case.outputs).max() > 1e-5, "this is float32: the precision hint has no effect"
    other = case.inputs | {"input_ids": scribbled(case)}
    np.testing.assert_array_equal(session.run(0, other)[0], together)
    for row in range(0, len(together), 6):
        length = even_length(int(case.inputs["attention_mask"][row].sum()))
        own = {key: value[row : row + 1, :length] for key, value in case.inputs.items() if key not in (PLACES, SLOTS)}
        alone = own | where(own["attention_mask"])
        np.testing.assert_array_equal(session.run(0, alone)[0], together[row : row + 1])
        np.testing.assert_array_equal(lane.run(0, alone)[0], together[row : row + 1], "on one core")
    lane.close()
    session.close()


def assert_near(rows: Rows, reference: Rows, contract: Contract) -> None:
    assert np.isfinite(rows).all()
    if contract.kind == "embedding":
        agreement = cosines(rows, reference)
        assert agreement.min() >= LEAST
        assert agreement.mean() >= MEAN or len(rows) == 1
    else:
        assert np.abs(rows - reference).max() <= LOGIT * float(reference.std())


def scribbled(case: Case) -> NDArray[np.int32]:
    """Other tokens where the mask says there are none; XLM-RoBERTa counts its positions by them, behind the text."""
    ids = case.inputs["input_ids"]
    other = np.random.default_rng(9).integers(5, case.contract.vocabulary - 1, ids.shape, np.int32)
    return np.where(case.inputs["attention_mask"] == 1, ids, other)


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("tiny-llama-last", "last"),
        ("tiny-qwen3-yarn", "last"),
        ("tiny-mistral-window", "mean"),
        # Where the weights stopped at 256, which is as far as bfloat16 counts, this was 0.99.
        ("tiny-gemma-both-ways", "weighted_mean"),
    ],
)
def test_late_positions_are_still_apart(name: str, pooling: Pooling, tmp_path: Path) -> None:
    spec = tiny_decoder(name)
    spec = replace(spec, config={**spec.config, "max_position_embeddings": LONG}, limit=LONG)
    choices = Choices(pooling=pooling)
    contract = convert_directory(write_tiny_decoder(spec, tmp_path / "source"), tmp_path / "made", choices)
    draw = np.random.default_rng(4)
    ids = [draw.integers(5, contract.vocabulary - 1, length).tolist() for length in (LONG, 300, 700)]
    given = rectangle(contract, ids, [], [])
    rows = {}
    for precision in ("fp32", "bf16"):
        session = OpenVinoSession(tmp_path / "made", contract.outputs, 1, 2, precision)
        rows[precision] = session.run(0, given)[0]
        session.close()
    assert cosines(rows["bf16"], rows["fp32"]).min() >= LEAST
