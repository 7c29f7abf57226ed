"""A language model that is asked about pairs, against Qwen3-Reranker's own code (tests/goldens/make_judge.py)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from tokenizers import Tokenizer

from sekisho.assemble import Parts, assemble
from sekisho.catalog.registry import Template, load_registry
from sekisho.contract import Tokens
from sekisho.engine.engine import LocalEngine
from sekisho.errors import BodyTooLarge, ConversionFailed, InputTooLong
from sekisho.service.pairs import Reading, pair_passages
from sekisho.service.rerank import Scored
from sekisho.settings import Settings
from tests.checkpoints_decoders import TinyDecoder
from tests.checkpoints_judge import JUDGES, write_judge
from tests.goldens.judge import FOLDER, LIMIT, Judged, judged, load_golden, template

T = TypeVar("T")


@pytest.fixture(scope="module", params=JUDGES, ids=lambda spec: spec.name)
def spec(request: pytest.FixtureRequest) -> TinyDecoder:
    chosen: TinyDecoder = request.param
    return chosen


@pytest.fixture(scope="module")
def home(spec: TinyDecoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with the template of models.yaml, and where its model is prepared."""
    directory = tmp_path_factory.mktemp("judge")
    write_judge(spec, directory / "checkpoint")
    block = {"name": "judge", "kind": "reranker", "source": {"path": "checkpoint"}, "heads": ["yes_no"]}
    block |= {"precision": "fp32"}  # as the goldens, on either engine
    models = [
        block | {"template": template(), "max_tokens": LIMIT},
        block | {"name": "narrow", "template": template(), "max_tokens": 30},
        block | {"name": "swapped", "template": template(), "max_tokens": LIMIT, "yes_no": swapped()},
    ]
    values = {"version": 1, "defaults": {"reranker": "judge"}, "models": models}
    (directory / "models.yaml").write_text(json.dumps(values), "utf-8")
    return directory


def swapped() -> list[int]:
    vocabulary = json.loads((FOLDER / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    return [vocabulary["no"], vocabulary["yes"]]


def run(home: Path, work: Callable[[Parts], Awaitable[T]], engine: str = "onnxruntime") -> T:
    parts = assemble(Settings(models=home / "models.yaml", home=home / "home", engine=engine, cache_mib=0))  # type: ignore[arg-type]

    async def whole() -> T:
        try:
            return await work(parts)
        finally:
            await parts.pool.close()

    return asyncio.run(whole())


async def score_each(parts: Parts, pairs: list[Judged], model: str | None = None) -> list[Scored]:
    return await asyncio.gather(
        *(
            parts.rerank.score(model, pair.query, [pair.document], Reading(instruction=pair.instruction))
            for pair in pairs
        )
    )


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_scores_equal_those_of_its_authors_code(spec: TinyDecoder, home: Path, engine: str) -> None:
    golden, scored = load_golden(spec.name), run(home, lambda parts: score_each(parts, judged()), engine)
    logits = np.concatenate([one.logits for one in scored])
    scores = np.concatenate([one.scores() for one in scored])
    np.testing.assert_allclose(scores, golden.outputs[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits, golden.outputs[:, 1], rtol=1e-4, atol=1e-4)
    assert [one.tokens for one in scored] == list(map(len, golden.ids))
    whole = len(max(golden.ids, key=len))
    assert whole == LIMIT
    assert all(one.truncated == (one.tokens == LIMIT) for one in scored)
    assert sum(one.truncated for one in scored) > 5


def test_the_tokens_are_those_of_its_authors_code(spec: TinyDecoder, home: Path) -> None:
    async def work(parts: Parts) -> list[list[Tokens]]:
        model = parts.catalog.registry.find("judge")
        async with parts.pool.use(model) as engine:
            assert isinstance(engine, LocalEngine)
            return [
                await engine.tokenize(pair_passages(model, [(p.query, p.document)], Reading(instruction=p.instruction)))
                for p in judged()
            ]

    made = run(home, work)
    assert [list(one.ids) for (one,) in made] == load_golden(spec.name).ids


def test_many_documents_in_one_request_score_as_each_alone(spec: TinyDecoder, home: Path) -> None:
    documents = [pair.document for pair in judged()][:30]

    async def work(parts: Parts) -> tuple[Scored, list[Scored]]:
        together = await parts.rerank.score(None, "東京駅", documents)
        return together, await score_each(parts, [Judged("東京駅", document, None) for document in documents])

    together, alone = run(home, work)
    np.testing.assert_allclose(together.logits, np.concatenate([one.logits for one in alone]), rtol=1e-4, atol=1e-4)
    assert together.tokens == sum(one.tokens for one in alone)


def test_instruction_and_query_survive_at_either_end(spec: TinyDecoder, home: Path) -> None:
    document = " ".join(f"word{number}" for number in range(300))
    question = Judged("the query itself", document, "the task itself")

    async def work(parts: Parts) -> dict[str, list[int]]:
        model = parts.catalog.registry.find("judge")
        async with parts.pool.use(model) as engine:
            assert isinstance(engine, LocalEngine)
            made = {}
            for cut in ("end", "start"):
                reading = Reading(instruction=question.instruction)
                passages = pair_passages(model, [(question.query, document)], reading)
                made[cut] = list(engine._model.encode(passages, cut)[0].ids)
            return made

    tokenizer, cuts = Tokenizer.from_file(str(FOLDER / "tokenizer.json")), run(home, work)
    for cut, ids in cuts.items():
        text = tokenizer.decode(ids, skip_special_tokens=False)
        assert len(ids) == LIMIT
        assert text.startswith(template()["prefix"] + "<Instruct>: the task itself\n<Query>: the query itself\n<Docu")
        assert text.endswith(template()["suffix"])
        assert ("word299" in text) == (cut == "start")
        assert ("word0 " in text) == (cut == "end")


def test_documents_can_be_read_in_part_and_refused_when_too_long(spec: TinyDecoder, home: Path) -> None:
    document = " ".join(f"word{number}" for number in range(300))

    async def work(parts: Parts) -> list[Scored]:
        with pytest.raises(InputTooLong, match=r"^documents\[1\] is [\d,]+ tokens long and the model reads 230"):
            await parts.rerank.score(None, "a", ["b", document], Reading(truncation="none"))
        few = Reading(truncation="none", document_tokens=5)
        return [await parts.rerank.score(None, "a", ["b", document], reading) for reading in (few, Reading())]

    few, whole = run(home, work)
    assert (few.truncated, whole.truncated) == (1, 1)
    assert few.tokens < whole.tokens
    assert few.logits[0] == pytest.approx(whole.logits[0], rel=1e-4)
    assert few.logits[1] != pytest.approx(whole.logits[1], rel=1e-3)


def test_the_answers_can_be_named_and_a_template_needs_room(spec: TinyDecoder, home: Path) -> None:
    async def work(parts: Parts) -> list[Scored]:
        with pytest.raises(ConversionFailed, match=r"the template takes [\d,]+ tokens and the model reads 30"):
            await parts.rerank.score("narrow", "a", ["b"])
        return [await parts.rerank.score(name, "a", ["b", "c d"]) for name in ("judge", "swapped")]

    usual, turned = run(home, work)
    np.testing.assert_allclose(turned.logits, -usual.logits, rtol=1e-4, atol=1e-5)


def test_a_huge_query_is_not_written_into_a_thousand_texts() -> None:
    registry = load_registry(Path(__file__).parents[2] / "models.yaml")
    with pytest.raises(BodyTooLarge, match="too long to be read with each of 1,000 texts"):
        pair_passages(registry.find("qwen3-reranker-0.6b"), [("q" * 200_000, "a")] * 1000, Reading())


def test_slots_are_filled_once() -> None:
    registry_template = Template(body="{task}|{query}|{document}|{query}", prefix="<", suffix=">", task="find")
    registry = load_registry(Path(__file__).parents[2] / "models.yaml")
    asked = registry.find("qwen3-reranker-0.6b").model_copy(update={"template": registry_template})
    (passage,) = pair_passages(asked, [("{task} {document}", "{query}")], Reading())
    assert passage.text == "find|{task} {document}|{query}|{task} {document}"
    assert passage.text[: passage.prompt_chars] == "find|{task} {document}|"
    assert passage.frame == ("<", ">")
