"""models.yaml: mistakes that are told by line, names that lead to one model."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.catalog.registry import (
    LOCAL_FILE,
    Registry,
    Spec,
    load_registry,
    registry_path,
)
from sekisho.errors import ModelNotFound, RegistryInvalid
from tests.conftest import REPOSITORY, WriteRegistry

VALID = """\
version: 1
defaults: {embedding: alpha}
aliases:
  text-embedding-3-small: alpha
models:
  - name: alpha
    aliases: [first, Org/Alpha-Model]
    source:
      hub: org/alpha
      revision: 0123456789abcdef0123456789abcdef01234567
      mirrors:
        - {package: alpha-files, subdir: alpha}
        - {path: ./alpha}
    keep_alive: 90s
  - name: beta-large
    source: {path: ./beta}
    prompts: {query: "q: ", document: "d: "}
    default_prompt: document
    keep_alive: always
"""


@pytest.fixture
def registry(write_registry: WriteRegistry) -> Registry:
    return load_registry(write_registry(VALID))


def test_a_valid_file_is_read_whole(registry: Registry, tmp_path: Path) -> None:
    alpha, beta = registry
    assert (alpha.name, beta.name) == ("alpha", "beta-large")
    assert alpha.source.hub == "org/alpha"
    assert [mirror.package or str(mirror.path) for mirror in alpha.source.mirrors] == ["alpha-files", "alpha"]
    assert alpha.keep_alive == timedelta(seconds=90)
    assert beta.keep_alive is None
    assert dict(beta.prompts) == {"query": "q: ", "document": "d: "}
    assert beta.pinned
    assert registry.directory == tmp_path.resolve()


def test_the_shipped_registry_is_valid_and_its_default_pinned() -> None:
    registry = load_registry(REPOSITORY / "models.yaml")
    assert registry.default("embedding").pinned
    assert registry.find("text-embedding-ada-002") is registry.default("embedding")


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "parts"),
    [
        ("keep_alive: 90s", "keep_alve: 90s", 14, "models[0].keep_alve", ["is not a known key", "'keep_alive'"]),
        ("{package: alpha-files, subdir", "{pakage: alpha-files, subdir", 12, "mirrors[0].pakage", ["'package'"]),
        ("hub: org/alpha", "hubb: org/alpha", 9, "models[0].source.hubb", ["did you mean 'hub'"]),
        ("defaults: {embedding", "defaults: {embeding", 2, "defaults.embeding", ["'embedding'"]),
        ("version: 1", "version: 1\nzzzzzz: 1", 2, "zzzzzz", ["known keys: aliases, defaults, models, version"]),
        ("version: 1", "version: 2", 1, "version", ["expected 1", "got 2"]),
        ("version: 1\n", "", 1, "version", ["is required"]),
        ("name: alpha", "name: [alpha]", 6, "models[0].name", ["expected a valid string"]),
        ("name: alpha", "name: ../etc", 6, "models[0].name", ["'../etc'"]),
        ("keep_alive: 90s", "dimensions: many", 14, "models[0].dimensions", ["integer", "'many'"]),
        ("keep_alive: 90s", "dimensions: 0", 14, "models[0].dimensions", ["greater than or equal to 1"]),
        ("keep_alive: 90s", "max_tokens: 1", 14, "models[0].max_tokens", ["greater than or equal to 2"]),
        ("keep_alive: 90s", "precision: fp8", 14, "models[0].precision", ["'bf16', 'fp16' or 'int8'", "'fp8'"]),
        ("keep_alive: 90s", "pooling: average", 14, "models[0].pooling", ["'weighted_mean'", "'average'"]),
        ("keep_alive: 90s", "keep_alive: 15", 14, "models[0].keep_alive", ["a duration such as 90s", "got 15"]),
        ("keep_alive: 90s", "keep_alive: 15 min", 14, "models[0].keep_alive", ["a duration", "'15 min'"]),
        ("keep_alive: 90s", "keep_alive: -5s", 14, "models[0].keep_alive", ["a duration"]),
        ("keep_alive: 90s", "keep_alive: 9999999999d", 14, "models[0].keep_alive", ["a duration"]),
        ("keep_alive: 90s", f"keep_alive: {'9' * 400}s", 14, "models[0].keep_alive", ["a duration"]),
        ("revision: 0123456789abcdef0123456789abcdef01234567", "revision: main", 10, "source.revision", ["'main'"]),
        ("revision: 0123456789abcdef", "revision: 0123456789ABCDEF", 10, "source.revision", ["40 hex digits"]),
        ("    source: {path: ./beta}\n", "", 15, "models[1].source", ["is required"]),
        ("{path: ./beta}", "beta", 16, "models[1].source", ["hub, mirrors, package, path", "got 'beta'"]),
        ("{path: ./beta}", "{path: ./beta, package: beta}", 16, "models[1].source", ["exactly one of hub, path"]),
        ("{path: ./beta}", "{}", 16, "models[1].source", ["exactly one of hub, path, package"]),
        ("{path: ./beta}", '{package: ""}', 16, "models[1].source.package", ["at least 1 character"]),
        ("{path: ./alpha}", "{path: ./alpha, package: x}", 13, "mirrors[1]", ["exactly one of package, path"]),
        ("default_prompt: document", "default_prompt: passage", 15, "models[1]", ["'passage'", "query, document"]),
        ("name: beta-large", "name: alpha", 15, "models[1].name", ["'alpha' is given twice"]),
        ("name: beta-large", "name: first", 15, "models[1].name", ["'first' is given twice"]),
        ("    keep_alive: always", "    aliases: [alpha]", 15, "models[1].name", ["'alpha' is given twice"]),
        ("  text-embedding-3-small: alpha", "  beta-large: alpha", 4, "aliases.beta-large", ["is given twice"]),
        ("embedding: alpha", "embedding: alhpa", 2, "defaults.embedding", ["'alhpa'", "did you mean 'alpha'"]),
        ("embedding: alpha", "reranker: nothing-like-it", 2, "defaults.reranker", ["no model is called"]),
        ("-3-small: alpha", "-3-small: betta-large", 4, "aliases.text-embedding-3-small", ["'beta-large'"]),
        ("keep_alive: 90s", "normalization: nfc", 14, "models[0].normalization", ["'nfkc' or 'neologdn'", "'nfc'"]),
        ("keep_alive: 90s", "tokenizer: {kind: mecab}", 14, "models[0].tokenizer.kind", ["'bert_japanese'", "'mecab'"]),
        ("keep_alive: 90s", "variants: {sse: a.onnx}", 14, "models[0].variants.sse", ["'avx2'", "'sse'"]),
        ("keep_alive: 90s", "variants: {avx2: ../a.onnx}", 14, "models[0].variants.avx2", ["stays inside", "'../a"]),
        ("keep_alive: 90s", "onnx: /etc/passwd", 14, "models[0].onnx", ["stays inside"]),
        ("keep_alive: 90s", "heads: [dense]", 14, "models[0].heads[0]", ["'sparse', 'colbert' or 'yes_no'"]),
        ("keep_alive: 90s", "activation: sigmoid", 6, "models[0]", ["embedding models without activation"]),
        ("keep_alive: 90s", "matryoshka: [64, 0]", 14, "models[0].matryoshka[1]", ["greater than or equal to 1"]),
        ("{path: ./beta}", "{path: b}\n    kind: reranker\n    pooling: cls", 15, "models[1]", ["without pooling"]),
        ("{path: ./beta}", "{path: b}\n    dimensions: 8\n    matryoshka: [9]", 15, "models[1]", ["the 8 dimensions"]),
        ("    source: {path: ./beta}\n", "    upstream: {api: soap, base_url: http://x, model: y}\n", 16,
         "models[1].upstream.api", ["'cohere'", "'soap'"]),
        ("    source: {path: ./beta}\n", "    upstream: {api: cohere, base_url: x, model: y}\n", 16,
         "models[1].upstream.base_url", ["got 'x'"]),
        ("    source: {path: ./beta}\n", "    upstream: {api: cohere, base_url: http://x, model: y, timeout: 0s}\n",
         16, "models[1].upstream.timeout", ["a duration"]),
        ("{path: ./beta}", "{path: ./beta}\n    upstream: {api: tei, base_url: http://x, model: y}", 15, "models[1]",
         ["exactly one of source, upstream"]),
        ("{path: ./beta}", "{path: b}\n    kind: reranker\n    template: {body: '{query}'}", 18, "models[1].template",
         ["a body with {document}"]),
        ("version: 1", "version: 1\nversion: 1", 2, "version", ["is given twice"]),
        ("    keep_alive: 90s", "    keep_alive: 90s\n    keep_alive: 90s", 15, "keep_alive", ["is given twice"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_line_key_and_expectation(
    write_registry: WriteRegistry, old: str, new: str, line: int, key: str, parts: list[str]
) -> None:
    assert VALID.count(old) == 1
    path = write_registry(VALID.replace(old, new))
    with pytest.raises(RegistryInvalid) as caught:
        load_registry(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert key in message.split(": ")[1]
    for part in parts:
        assert part in message


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(write_registry: WriteRegistry) -> None:
    broken = VALID.replace("keep_alive: 90s", "keep_alve: 90s").replace("version: 1", "version: one")
    with pytest.raises(RegistryInvalid) as caught:
        load_registry(write_registry(broken.replace("keep_alive: always", "license: 3")))
    lines = [int(re.split(r"models\.yaml:|: ", line)[1]) for line in str(caught.value).splitlines()]
    assert lines == [1, 14, 19]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("models: [a\nb: {", "line 2"),
        ("models:\n\t- name: a", "line 2, column 1"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: !!int ''", "cannot be read"),
        ("a: !!bool perhaps", "cannot be read"),
        ("[" * 5000, "recursion"),
        ("models: \x00", "special characters are not allowed"),
        ("", "document"),
        ("just text", "document"),
        ("- a list", "document"),
        ("version: 1\nmodels: []", "models: expected at least one"),
        ("&a [*a]", "document"),
        ("version: 1\nmodels: &a [*a]", "models[0]"),
    ],
)
def test_what_is_no_registry_at_all(write_registry: WriteRegistry, text: str, part: str) -> None:
    path = write_registry(text)
    with pytest.raises(RegistryInvalid) as caught:
        load_registry(path)
    assert str(caught.value).startswith(str(path))
    assert part in str(caught.value)
    assert all(line.startswith(f"{path}:") for line in str(caught.value).splitlines())


def test_nested_aliases_of_yaml_are_read_in_no_time(write_registry: WriteRegistry) -> None:
    """Each line doubles what the one before stands for: a walk that repeats itself would not end."""
    doubled = "\n".join(f"  - &b{i + 1} [*b{i}, *b{i}]" for i in range(60))
    with pytest.raises(RegistryInvalid, match="extra"):
        load_registry(write_registry(f"extra:\n  - &b0 [x]\n{doubled}\n"))


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_bytes("version: 1 # ÿ".encode("latin-1"))
    with pytest.raises(RegistryInvalid, match=r"models\.yaml: .*utf-8"):
        load_registry(tmp_path / "models.yaml")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RegistryInvalid, match=r"absent\.yaml: No such file"):
        load_registry(tmp_path / "absent.yaml")


def test_a_byte_order_mark_is_no_mistake(write_registry: WriteRegistry) -> None:
    assert len(list(load_registry(write_registry("\ufeff" + VALID)))) == 2


def load_text(directory: Path, text: str) -> Registry | None:
    """The registry, or None where it was refused as it should be; any other exception is a finding."""
    path = directory / "models.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        return load_registry(path)
    except RegistryInvalid:
        return None


@settings(max_examples=150, deadline=None)
@given(text=st.text())
def test_arbitrary_text_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    load_text(tmp_path_factory.getbasetemp(), text)


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from(
            ["\n", "\n  ", "\n- ", "  ", ": ", "? ", "- ", "[", "]", "{", "}", ", ", "&a ", "*a ", "!!int ", "!!bool ",
             "!!float ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!null ", "<<", "=", "~", "'", '"', "|\n",
             ">-\n", "version", "models", "aliases", "defaults", "name", "source", "path", "1", "0x", "1e999", "9:9:9",
             "2001-99-99", "a", "é", "---\n", "...\n", "%YAML 1.1\n", "# ", "\t"]
        ),
        max_size=24,
    )
)  # fmt: skip
def test_arbitrary_yaml_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, pieces: list[str]) -> None:
    load_text(tmp_path_factory.getbasetemp(), "".join(pieces))


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(), st.binary(max_size=4),
    st.sampled_from(["alpha", "first", "beta-large", "org/alpha", "always", "1d", "0s", "mean", "fp32"]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.one_of(LEAVES, st.sampled_from(sorted(Spec.model_fields))), inner, max_size=3)
    ),
    max_leaves=6,
)
PLACES: list[tuple[Any, ...]] = [
    *[("models", 0, key) for key in Spec.model_fields],
    *[("models", 0, "source", key) for key in ("hub", "revision", "path", "package", "subdir", "mirrors")],
    *[(key,) for key in ("version", "defaults", "aliases", "models")],
    ("aliases", "new-name"),
    ("defaults", "embedding"),
]


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=3))
def test_a_valid_file_with_arbitrary_values_is_refused_or_whole(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    data = yaml.safe_load(VALID)
    for place, value in changes:
        target = data
        try:
            for part in place[:-1]:
                target = target[part]
            target[place[-1]] = value
        except (TypeError, KeyError, IndexError):
            continue
    registry = load_text(tmp_path_factory.getbasetemp(), yaml.safe_dump(data, allow_unicode=True))
    if registry is not None:
        for spec in registry:
            assert registry.names(spec)[0] == spec.name
            assert all(registry.find(name) is spec for name in registry.names(spec))
        if registry.default_name("embedding"):
            registry.default("embedding")


@pytest.mark.parametrize(
    "name",
    ["alpha", "first", "Org/Alpha-Model", "org/alpha", "text-embedding-3-small", "ALPHA", "ORG/alpha", "FiRsT",
     "Text-Embedding-3-Small"],
)  # fmt: skip
def test_every_name_and_hub_id_finds_the_model_in_any_case(registry: Registry, name: str) -> None:
    assert registry.find(name).name == "alpha"


def test_a_close_name_is_suggested(registry: Registry) -> None:
    with pytest.raises(ModelNotFound, match=r"'beta-larg' does not exist.*Did you mean 'beta-large'") as caught:
        registry.find("beta-larg")
    assert caught.value.param == "model"


@pytest.mark.parametrize("name", ["", "zzzzzzzzzzzz", "\ud800", "a" * 10_000])
def test_a_name_like_no_other_gets_the_list(registry: Registry, name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"Models here: alpha, beta-large\."):
        registry.find(name)


def test_a_name_in_its_own_case_goes_before_a_folded_one(write_registry: WriteRegistry) -> None:
    text = "version: 1\nmodels:\n  - {name: Foo, source: {path: a}}\n  - {name: foo, source: {path: b}}\n"
    registry = load_registry(write_registry(text))
    assert [registry.find(name).name for name in ("Foo", "foo")] == ["Foo", "foo"]


def test_an_alias_may_lead_to_an_alias_or_a_hub_id(write_registry: WriteRegistry) -> None:
    text = VALID.replace("  text-embedding-3-small: alpha", "  one: first\n  two: org/alpha")
    registry = load_registry(write_registry(text.replace("embedding: alpha", "embedding: first")))
    assert {registry.find(name).name for name in ("one", "two")} == {"alpha"}
    assert registry.default("embedding").name == "alpha"


@pytest.mark.parametrize("order", [0, 1])
def test_a_given_name_goes_before_a_hub_id(write_registry: WriteRegistry, order: int) -> None:
    """Serve one's own copy under the hub's name, wherever it stands in the file."""
    blocks = [
        f"  - {{name: theirs, source: {{hub: org/model, revision: {'a' * 40}}}}}\n",
        "  - {name: ours, aliases: [org/model], source: {path: ours}}\n",
    ]
    registry = load_registry(write_registry("version: 1\nmodels:\n" + blocks[order] + blocks[1 - order]))
    assert registry.find("org/model").name == "ours"


def test_names_start_with_the_models_own(registry: Registry) -> None:
    alpha = registry.find("alpha")
    assert registry.names(alpha) == ["alpha", "first", "Org/Alpha-Model", "org/alpha", "text-embedding-3-small"]


def test_no_default_says_to_name_a_model(registry: Registry) -> None:
    assert registry.default("embedding").name == "alpha"
    assert registry.default_name("reranker") is None
    with pytest.raises(ModelNotFound, match="no default reranker"):
        registry.default("reranker")


@pytest.mark.parametrize(
    ("written", "expected"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("0s", 0), ("1.5m", 90), ("always", None)],
)
def test_durations(write_registry: WriteRegistry, written: str, expected: float | None) -> None:
    spec = load_registry(write_registry(VALID.replace("90s", written))).find("alpha")
    assert (spec.keep_alive.total_seconds() if spec.keep_alive is not None else None) == expected


def test_a_hub_source_without_a_revision_is_unpinned(write_registry: WriteRegistry) -> None:
    text = VALID.replace("      revision: 0123456789abcdef0123456789abcdef01234567\n", "")
    assert not load_registry(write_registry(text)).find("alpha").pinned


def test_the_registry_is_looked_for_by_setting_then_here_then_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert registry_path(Path("else.yaml")) == Path("else.yaml")
    shipped = registry_path(None)
    assert shipped.is_absolute()
    assert load_registry(shipped).find("all-minilm-l6-v2").dimensions == 384
    (tmp_path / "models.yaml").write_text(VALID)
    assert registry_path(None) == LOCAL_FILE


def test_a_model_of_another_service_has_no_files(write_registry: WriteRegistry) -> None:
    upstream = "{api: cohere, base_url: 'https://api.example.invalid', model: rerank-v3, key_env: KEY, timeout: 10s}"
    text = VALID.replace("source: {path: ./beta}", f"upstream: {upstream}")
    beta = load_registry(write_registry(text)).find("beta-large")
    assert beta.upstream is not None
    assert (beta.upstream.model, beta.upstream.timeout) == ("rerank-v3", timedelta(seconds=10))
    assert (beta.source.hub, beta.source.path, beta.source.package, beta.origin) == (None, None, None, "cohere")


def test_altered_models_are_found_by_the_same_names(registry: Registry) -> None:
    altered = registry.altered(prompts={}, default_prompt=None)
    assert altered.find("BETA-large").prompts == {}
    assert altered.find("first").name == "alpha"
    assert registry.find("beta-large").default_prompt == "document"


def test_only_names_about_as_close_as_the_closest_are_suggested(write_registry: WriteRegistry) -> None:
    text = "version: 1\nmodels:\n  - {name: all-mini-l6-v2, source: {path: a}}\n  - {name: mini, source: {path: b}}\n"
    with pytest.raises(ModelNotFound, match=r"Did you mean 'all-mini-l6-v2'\?$"):
        load_registry(write_registry(text)).find("all-mini-l6")
