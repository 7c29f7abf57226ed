"""The models.yaml that ships, against the facts written down here a second time."""

from __future__ import annotations

from collections import Counter

import pytest

from sekisho.catalog.lockfile import load_lock, lock_path
from sekisho.catalog.registry import Registry, Spec, load_registry
from sekisho.service.prompts import prompt_for
from tests import model_table
from tests.conftest import REPOSITORY

REGISTRY: Registry = load_registry(REPOSITORY / "models.yaml")

#: Hub id → short name, revision, dimensions, context. None: not known, so not written.
EMBEDDING: dict[str, tuple[str, str | None, int, int | None]] = {
    "sentence-transformers/all-MiniLM-L6-v2": (
        "all-minilm-l6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41", 384, 256),
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": (
        "MiniLM", "86741b4e3f5cb7765a600d3a3d55a0f6a6cb443d", 384, 128),
    "cl-nagoya/ruri-v3-30m": ("ruri-v3-30m", "24899e5de370b56d179604a007c0d727bf144504", 256, 8192),
    "cl-nagoya/ruri-v3-70m": ("ruri-v3-70m", "07a8b0aba47d29d2ca21f89b915c1efe2c23d1cc", 384, 8192),
    "cl-nagoya/ruri-v3-130m": ("ruri-v3-130m", "e3114c6ee10dbab8b4b235fbc6dcf9dd4d5ac1a6", 512, 8192),
    "cl-nagoya/ruri-v3-310m": ("ruri-v3-310m", "18b60fb8c2b9df296fb4212bb7d23ef94e579cd3", 768, 8192),
    "cl-nagoya/ruri-small": ("ruri-small", "bc56ce90cd7a979f6eb199fc52dfe700bfd94bc3", 768, 512),
    "cl-nagoya/ruri-base": ("ruri-base", "1ae40b8b6c78518a499425086bab8fc16c2e4b0e", 768, 512),
    "cl-nagoya/ruri-large": ("ruri-large", "a011c39b13e8bc137ee13c6bc82191ece46c414c", 1024, 512),
    "cl-nagoya/ruri-small-v2": ("ruri-small-v2", "db18646e673b713cd0518a5bb0fefdce21e77cd9", 768, 512),
    "cl-nagoya/ruri-base-v2": ("ruri-base-v2", "8ce03882903668a01c83ca3b8111ac025a3bc734", 768, 512),
    "cl-nagoya/ruri-large-v2": ("ruri-large-v2", "42898ef34a5574977380ebf0dfd28cbfbd36438b", 1024, 512),
    "MU-Kindai/Japanese-SimCSE-BERT-large-unsup": ("japanese-simcse-large", None, 1024, 512),
    "sonoisa/sentence-luke-japanese-base-lite": ("luke-japanese-base", None, 768, 512),
    "pkshatech/GLuCoSE-base-ja-v2": ("glucose-ja-v2", None, 768, 512),
    "BAAI/bge-m3": ("bge-m3", "5617a9f61b028005a4858fdac845db406aefb181", 1024, 8192),
    "intfloat/multilingual-e5-small": (
        "multilingual-e5-small", "614241f622f53c4eeff9890bdc4f31cfecc418b3", 384, 512),
    "intfloat/multilingual-e5-base": ("multilingual-e5-base", "d13f1b27baf31030b7fd040960d60d909913633f", 768, 512),
    "intfloat/multilingual-e5-large": (
        "multilingual-e5-large", "ab10c1a7f42e74530fe7ae5be82e6d4f11a719eb", 1024, 512),
    "mixedbread-ai/mxbai-embed-large-v1": (
        "mxbai-embed-large", "990580e27d329c7408b3741ecff85876e128e203", 1024, 512),
    "Alibaba-NLP/gte-multilingual-base": (
        "gte-multilingual-base", "9bbca17d9273fd0d03d5725c7a4b0f6b45142062", 768, 8192),
    "Qwen/Qwen3-Embedding-0.6B": ("qwen3-embedding-0.6b", "97b0c614be4d77ee51c0cef4e5f07c00f9eb65b3", 1024, 32768),
    "google/embeddinggemma-300m": ("embeddinggemma-300m", "64614b0b8b64f0c6c1e52b07e4e9a4e8fe4d2da2", 768, 2048),
    "sbintuitions/sarashina-embedding-v1-1b": (
        "sarashina-embedding-v1-1b", "d060fcd8984075071e7fad81baff035cbb3b6c7e", 1792, 8192),
    "hotchpotch/static-embedding-japanese": (
        "static-embedding-japanese", "95b3d9c80a7ccf604e2b5daee7b1b3eed6b1a9d3", 1024, None),
    "intfloat/e5-mistral-7b-instruct": ("e5-mistral-7b", "07163b72af1488142a360786df853f237b1a3ca1", 4096, 32768),
    "nvidia/NV-Embed-v2": ("nv-embed-v2", "7604d305b621f14095a1aa23d351674c2859553a", 4096, 32768),
}  # fmt: skip

#: Hub id → short name, revision, context.
RERANKERS: dict[str, tuple[str, str | None, int]] = {
    "cl-nagoya/ruri-v3-reranker-310m": ("ruri-v3-reranker-310m", "bb46934ee9ed09f850b9fcff17501b3ef7ddb2b3", 8192),
    "cl-nagoya/ruri-reranker-small": ("ruri-reranker-small", None, 512),
    "cl-nagoya/ruri-reranker-base": ("ruri-reranker-base", None, 512),
    "cl-nagoya/ruri-reranker-large": ("ruri-reranker-large", None, 512),
    "hotchpotch/japanese-reranker-cross-encoder-xsmall-v1": ("japanese-reranker-xsmall", None, 512),
    "hotchpotch/japanese-reranker-cross-encoder-small-v1": ("japanese-reranker-small", None, 512),
    "hotchpotch/japanese-reranker-cross-encoder-base-v1": ("japanese-reranker-base", None, 512),
    "hotchpotch/japanese-reranker-cross-encoder-large-v1": ("japanese-reranker-large", None, 512),
    "hotchpotch/japanese-bge-reranker-v2-m3-v1": ("japanese-bge-v2-m3", None, 8192),
    "hotchpotch/japanese-reranker-tiny-v2": (
        "japanese-reranker-tiny-v2", "ba95175a4d53058816b971f31929f10c5cad8560", 8192),
    "hotchpotch/japanese-reranker-xsmall-v2": (
        "japanese-reranker-xsmall-v2", "de99fd2f16c7b5df1df1bcc1d9ad2c16d88ce93a", 8192),
    "hotchpotch/japanese-reranker-small-v2": (
        "japanese-reranker-small-v2", "e8091d132c23b372e059505edbb9255f346100d3", 8192),
    "hotchpotch/japanese-reranker-base-v2": ("japanese-reranker-base-v2", None, 8192),
    "jinaai/jina-reranker-v2-base-multilingual": (
        "jina-reranker-v2-multilingual", "126747772a932960028d9f4dc93bd5d9c4869be4", 1024),
    "BAAI/bge-reranker-v2-m3": ("bge-reranker-v2-m3", "953dc6f6f85a1b2dbfca4c34a2796e7dde08d41e", 8192),
    "Alibaba-NLP/gte-multilingual-reranker-base": (
        "gte-multilingual-reranker", "8215cf04918ba6f7b6a62bb44238ce2953d8831c", 8192),
    "mixedbread-ai/mxbai-rerank-large-v1": ("mxbai-rerank-large", "98f655841d5caf0b16eaff79c2b4ca109d920d17", 512),
    "Qwen/Qwen3-Reranker-0.6B": ("qwen3-reranker-0.6b", "e61197ed45024b0ed8a2d74b80b4d909f1255473", 8192),
}  # fmt: skip

RURI_V3 = [f"ruri-v3-{size}m" for size in (30, 70, 130, 310)]
RURI = [f"ruri-{size}{version}" for size in ("small", "base", "large") for version in ("", "-v2")]
E5 = [f"multilingual-e5-{size}" for size in ("small", "base", "large")]

#: (models, prompt, its UTF-8).
PROMPTS: list[tuple[list[str], str, bytes]] = [
    (RURI_V3, "query", "検索クエリ: ".encode()),
    (RURI_V3, "document", "検索文書: ".encode()),
    (RURI_V3, "classification", "トピック: ".encode()),
    (RURI_V3, "clustering", b"\xe3\x83\x88\xe3\x83\x94\xe3\x83\x83\xe3\x82\xaf\x3a\x20"),
    (RURI_V3, "sts", b""),
    (RURI, "query", "クエリ: ".encode()),
    (RURI, "document", "文章: ".encode()),
    ([*E5, "glucose-ja-v2"], "query", b"query: "),
    ([*E5, "glucose-ja-v2"], "document", b"passage: "),
    ([*E5, "glucose-ja-v2"], "sts", b"query: "),
    (["mxbai-embed-large"], "query", b"Represent this sentence for searching relevant passages: "),
    (["mxbai-embed-large", "qwen3-embedding-0.6b", "e5-mistral-7b", "nv-embed-v2"], "document", b""),
    (["qwen3-embedding-0.6b"], "query",
     b"Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"),
    (["e5-mistral-7b"], "query",
     b"Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "),
    (["nv-embed-v2"], "query",
     b"Instruct: Given a question, retrieve passages that answer the question\nQuery: "),
    (["embeddinggemma-300m"], "query", b"task: search result | query: "),
    (["embeddinggemma-300m"], "document", b"title: none | text: "),
    (["embeddinggemma-300m"], "clustering", b"task: clustering | query: "),
    (["embeddinggemma-300m"], "classification", b"task: classification | query: "),
    (["embeddinggemma-300m"], "sts", b"task: sentence similarity | query: "),
]  # fmt: skip
WITHOUT_PROMPTS = [
    "all-minilm-l6-v2", "MiniLM", "bge-m3", "gte-multilingual-base", "static-embedding-japanese",
    "sarashina-embedding-v1-1b", "luke-japanese-base", "japanese-simcse-large",
]  # fmt: skip

POOLING = {
    "last": ["qwen3-embedding-0.6b", "sarashina-embedding-v1-1b", "e5-mistral-7b"],
    "cls": ["bge-m3", "gte-multilingual-base", "mxbai-embed-large", "japanese-simcse-large"],
    "latent": ["nv-embed-v2"],
    None: ["glucose-ja-v2"],
}

PARAMETERS = {
    "all-minilm-l6-v2": 22_713_216, "MiniLM": 117_653_760, "ruri-v3-30m": 36_705_536, "ruri-v3-310m": 314_611_968,
    "ruri-large": 337_441_792, "bge-m3": 567_754_752, "bge-reranker-v2-m3": 567_755_777,
    "mxbai-rerank-large": 435_062_785, "japanese-reranker-tiny-v2": 29_427_969, "qwen3-embedding-0.6b": 595_776_512,
}  # fmt: skip

MIT = [
    *E5, "bge-m3", "static-embedding-japanese", "e5-mistral-7b", "japanese-simcse-large", "japanese-reranker-tiny-v2",
    "japanese-reranker-xsmall", "japanese-bge-v2-m3",
]  # fmt: skip
NOT_FREE = {
    "nv-embed-v2": "cc-by-nc-4.0", "jina-reranker-v2-multilingual": "cc-by-nc-4.0", "embeddinggemma-300m": "gemma",
    "sarashina-embedding-v1-1b": "Sarashina NonCommercial", "luke-japanese-base": None,
    "cohere-rerank-multilingual": "proprietary",
}  # fmt: skip


@pytest.mark.parametrize("hub", EMBEDDING)
def test_embedding_models(hub: str) -> None:
    spec = REGISTRY.find(hub)
    assert (spec.name, spec.source.revision, spec.dimensions, spec.max_tokens) == EMBEDDING[hub]
    assert (spec.kind, spec.source.hub) == ("embedding", hub)


@pytest.mark.parametrize("hub", RERANKERS)
def test_rerankers(hub: str) -> None:
    spec = REGISTRY.find(hub)
    assert (spec.name, spec.source.revision, spec.max_tokens) == RERANKERS[hub]
    assert (spec.kind, spec.source.hub) == ("reranker", hub)


def test_there_are_no_others() -> None:
    known = {*EMBEDDING, *RERANKERS}
    assert [spec.name for spec in REGISTRY if spec.source.hub not in known] == ["cohere-rerank-multilingual"]
    assert len(list(REGISTRY)) == len(known) + 1


def test_what_has_no_weights_runs_at_its_makers() -> None:
    spec = REGISTRY.find("rerank-multilingual-v3.0")
    assert spec.upstream is not None
    assert (spec.upstream.api, spec.upstream.model, spec.upstream.key_env) == (
        "cohere", "rerank-multilingual-v3.0", "COHERE_API_KEY",
    )  # fmt: skip
    assert spec.upstream.base_url == ("https://api.cohere.com",)


@pytest.mark.parametrize(
    ("name", "kind", "expected"), [(name, kind, text) for names, kind, text in PROMPTS for name in names]
)
def test_prompts_to_the_byte(name: str, kind: str, expected: bytes) -> None:
    assert prompt_for(REGISTRY.find(name), kind).encode() == expected


@pytest.mark.parametrize("name", WITHOUT_PROMPTS)
def test_models_without_prompts(name: str) -> None:
    assert not REGISTRY.find(name).prompts
    assert prompt_for(REGISTRY.find(name), "query") == ""


def test_an_instruction_takes_the_place_of_the_default_task() -> None:
    spec = REGISTRY.find("qwen3-embedding-0.6b")
    assert prompt_for(spec, "query", instruction="Find code") == "Instruct: Find code\nQuery:"


def test_nothing_is_put_before_a_text_that_names_no_kind() -> None:
    assert [spec.name for spec in REGISTRY if spec.default_prompt is not None] == []


def test_pooling() -> None:
    special = {name: pooling for pooling, names in POOLING.items() for name in names}
    for spec in REGISTRY:
        expected = None if spec.kind == "reranker" else special.get(spec.name, "mean")
        assert spec.pooling == expected, spec.name


def test_what_is_not_normalised_by_its_authors_stays_so() -> None:
    plain = {"japanese-simcse-large", "luke-japanese-base", "sarashina-embedding-v1-1b", "static-embedding-japanese"}
    assert {spec.name for spec in REGISTRY if spec.normalize is False} == plain


def test_the_reranker_that_is_a_language_model_has_its_template() -> None:
    template = REGISTRY.find("qwen3-reranker-0.6b").template
    assert template is not None
    assert template.prefix == (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    )
    assert template.body == "<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}"
    assert template.suffix == "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert template.task == "Given a web search query, retrieve relevant passages that answer the query"


def test_sizes_are_numbers_of_parameters() -> None:
    assert {name: REGISTRY.find(name).parameters for name in PARAMETERS} == PARAMETERS
    assert all(spec.parameters > 20_000_000 for spec in REGISTRY if spec.parameters is not None)


def test_licences() -> None:
    for spec in REGISTRY:
        if spec.name in NOT_FREE:
            assert spec.license == NOT_FREE[spec.name]
        else:
            assert spec.license in {"apache-2.0", "mit"}, spec.name
    assert {REGISTRY.find(name).license for name in MIT} == {"mit"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("paraphrase-multilingual-MiniLM-L12-v2", "MiniLM"), ("minilm", "MiniLM"), ("ruri-v3", "ruri-v3-310m"),
        ("japanese-reranker-cross-encoder-large-v1", "japanese-reranker-large"), ("mxbai-rerank-large-v1",
        "mxbai-rerank-large"), ("GLuCoSE-base-ja-v2", "glucose-ja-v2"), ("e5-mistral-7b-instruct", "e5-mistral-7b"),
        ("text-embedding-3-small", "all-minilm-l6-v2"), ("Qwen3-Embedding-0.6B", "qwen3-embedding-0.6b"),
    ],
)  # fmt: skip
def test_other_names(name: str, meant: str) -> None:
    assert REGISTRY.find(name).name == meant


def test_defaults() -> None:
    assert REGISTRY.default("embedding").name == "all-minilm-l6-v2"
    assert REGISTRY.default("reranker").name == "japanese-reranker-xsmall-v2"


def test_families_and_tokenizers_that_the_checkpoints_do_not_tell() -> None:
    families = {spec.name: spec.family for spec in REGISTRY if spec.family}
    assert families == {"jina-reranker-v2-multilingual": "xlm-roberta", "static-embedding-japanese": "static"}
    kinds = Counter(spec.tokenizer.kind for spec in REGISTRY)
    assert (kinds["bert_japanese"], kinds["mluke"], kinds["sentencepiece"]) == (8, 2, 0)
    assert {spec.normalization for spec in REGISTRY} == {"none"}


def test_the_lock_holds_only_models_of_the_catalogue_at_their_revision() -> None:
    lock = load_lock(lock_path(REPOSITORY / "models.yaml"))
    for name, locked in lock.models.items():
        spec: Spec = REGISTRY.find(name)
        assert (spec.name, spec.source.revision) == (name, locked.revision)
    assert "all-minilm-l6-v2" in lock.models


def test_the_page_shows_the_catalogue() -> None:
    assert model_table.written() == model_table.tables(), "run scripts/model-table"
