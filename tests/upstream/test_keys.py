"""A key goes where the registry says and nowhere else, and one that is missing is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.upstream.gateway import Gateway, entry
from tests.upstream.service import started
from tests.upstream.wire import KEY

MakeGateway = Callable[..., Gateway]


def test_a_key_goes_to_no_other_host(gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with started("openai") as elsewhere, started("openai") as service:
        monkeypatch.setenv("SEKISHO_TEST_REDIRECT", f"{elsewhere.url}/v1/embeddings")
        service.faults.append("redirect")
        answer = gateway(entry("openai", service.url)).embed("a")
        assert answer.status_code == 502
        assert "redirect" in answer.json()["message"]
        assert elsewhere.url not in answer.text
        assert elsewhere.calls == []
        assert len(service.calls) == 1


@pytest.mark.parametrize("value", ["", "schlüssel", "two\nlines"])
def test_a_key_that_is_missing_or_none_is_told_without_a_call(
    gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    with started("openai") as service:
        front = gateway(entry("openai", service.url))
        monkeypatch.setenv("SERVICE_KEY", value)
        answer = front.embed("a")
        assert answer.status_code == 502
        assert answer.headers["x-should-retry"] == "false"
        assert "SERVICE_KEY" in answer.json()["message"]
        assert service.calls == []
    told = capsys.readouterr()
    assert value == "" or value not in told.out + told.err + answer.text


def test_a_service_without_keys_is_sent_none(gateway: MakeGateway) -> None:
    with started("tei") as service:
        answer = gateway(entry("tei", service.url, key_env=None)).embed("a")
        assert "authorization" not in service.calls[0].headers
    assert answer.status_code == 502
    assert "`key_env`" in answer.json()["message"]
    assert KEY not in answer.text
