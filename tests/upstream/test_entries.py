"""What models.yaml says of a model elsewhere."""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from sekisho.catalog.registry import Upstream, load_registry
from sekisho.cli import main
from sekisho.errors import RegistryInvalid
from sekisho.runtime.remote import DIALECTS
from sekisho.runtime.remote.service import Service
from sekisho.settings import Settings, secret
from tests.conftest import REPOSITORY, WriteRegistry

_HEAD = "version: 1\nmodels:\n  - name: far\n"


def entry(**upstream: str) -> str:
    keys = {"api": "tei", "base_url": "http://h:1", "model": "m"} | upstream
    return f"{_HEAD}    upstream: {{{', '.join(f'{key}: {value}' for key, value in keys.items())}}}\n"


def test_every_api_of_the_registry_has_a_dialect(write_registry: WriteRegistry) -> None:
    for api in DIALECTS:
        (spec,) = load_registry(write_registry(entry(api=api)))
        assert spec.upstream is not None
        assert spec.upstream.api == api
    with pytest.raises(RegistryInvalid, match="'openai', 'cohere', 'jina', 'voyage', 'tei', 'vllm' or 'sekisho'"):
        load_registry(write_registry(entry(api="grpc")))


def test_one_address_or_several(write_registry: WriteRegistry) -> None:
    for given, expected in (
        ("http://h:1", ("http://h:1",)),
        ("[http://h:1, 'https://[::1]:2/v1/']", ("http://h:1", "https://[::1]:2/v1/")),
    ):
        (spec,) = load_registry(write_registry(entry(base_url=given)))
        assert spec.upstream is not None
        assert spec.upstream.base_url == expected


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("base_url", "ftp://h", "an http:// or https:// address"),
        ("base_url", "http://user:password@h", "without user"),
        ("base_url", "'http://h?key=1'", "without user, query"),
        ("base_url", "http://h:70000", "an http:// or https:// address"),
        ("base_url", "[]", "an http:// or https:// address"),
        ("base_url", "[http://h:1, http://h:1]", "every address once"),
        ("base_url", "7", "base_url"),
        ("concurrency", "0", "greater than or equal to 1"),
        ("retries", "-1", "greater than or equal to 0"),
        ("retries", "11", "less than or equal to 10"),
        ("batch", "0", "greater than or equal to 1"),
        ("kinds", "{query: ''}", "at least 1 character"),
        ("timeout", "always", "a duration such as 10s"),
        ("key_env", "sk-123", "key_env"),
        ("concurency", "2", "did you mean 'concurrency'"),
    ],
)
def test_a_mistake_is_told_with_its_line(write_registry: WriteRegistry, key: str, value: str, part: str) -> None:
    with pytest.raises(RegistryInvalid, match=r"models\.yaml:4: models\[0\]\.upstream") as caught:
        load_registry(write_registry(entry(**{key: value})))
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ("    token_ids: native\n", "token_ids of cl100k or reject"),
        ("    kind: reranker\n    template: {body: '{query} {document}'}\n", "no template"),
        ("    source: {path: here}\n", "exactly one of source, upstream"),
    ],
)
def test_what_makes_no_sense_elsewhere_is_refused(write_registry: WriteRegistry, more: str, part: str) -> None:
    with pytest.raises(RegistryInvalid, match=part):
        load_registry(write_registry(entry() + more))


def test_a_key_is_read_from_the_environment_or_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    (tmp_path / "keys").write_text("FIRST_KEY=from-the-file\nSECOND_KEY=from-the-file\n")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / "keys")
    monkeypatch.setenv("SECOND_KEY", "from-the-environment")
    monkeypatch.setenv("EMPTY_KEY", "")
    assert secret("FIRST_KEY") == SecretStr("from-the-file")
    assert secret("SECOND_KEY") == SecretStr("from-the-environment")
    assert secret("EMPTY_KEY") is None
    assert secret("NO_SUCH_KEY") is None


def test_no_key_is_shown_by_accident() -> None:
    service = Service("far", "m", ("http://h",), "very-secret", "KEY", 1.0, 1, 1)
    assert "very-secret" not in repr(service)


def test_the_doctor_says_where_and_whether_there_is_a_key(
    write_registry: WriteRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_registry(entry(base_url="[http://h:1, http://h:2]", key_env="FAR_KEY"))
    # Logs go to a process's stderr for good; this process has other tests to run.
    monkeypatch.setattr("sekisho.cli.options.configure_logging", lambda settings: None)
    monkeypatch.setattr(sys, "argv", ["sekisho", "doctor", "--models", str(path), "--json"])

    def told() -> dict[str, str]:
        with suppress(SystemExit):
            main()
        (row,) = json.loads(capsys.readouterr().out)["models"]
        found: dict[str, str] = row
        return found

    assert told()["why"] == "served at http://h:1, http://h:2; FAR_KEY is not set"
    monkeypatch.setenv("FAR_KEY", "not-to-be-shown")
    assert told()["why"].endswith("FAR_KEY is set")
    assert (told()["state"], told()["engine"]) == ("upstream", "tei")
    assert "not-to-be-shown" not in str(told())


def test_every_key_of_an_entry_and_every_api_is_described() -> None:
    page = (REPOSITORY / "docs" / "upstreams.md").read_text("utf-8")
    first_cells = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    assert set(Upstream.model_fields) | set(DIALECTS) <= first_cells


def test_the_limits_described_are_those_of_the_dialects() -> None:
    page = (REPOSITORY / "docs" / "upstreams.md").read_text("utf-8")
    for name, dialect in DIALECTS.items():
        (row,) = re.findall(rf"^\| `{name}` \| .*$", page, flags=re.MULTILINE)
        for operation in (dialect.embed, dialect.rerank):
            for limit in (operation.most, operation.most_chars):
                assert limit is None or f"{limit:,}" in row, (name, limit)
        assert ("start" in row) == ("start" in dialect.embed.truncations), name
