"""What a request asks for reaches the service in its own words, or is done or refused here."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import numpy as np
import pytest

from sekisho.contract import Passage
from sekisho.errors import InvalidRequest
from tests.upstream.gateway import Gateway, entry, rows_of
from tests.upstream.service import Service, started
from tests.upstream.wire import WIDTH, Refused, score, vector

MakeGateway = Callable[..., Gateway]

RURI = 'prompts: {query: "検索クエリ: ", document: "検索文書: "}'


def refused(answer: httpx.Response, param: str | None = None) -> str:
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    message: str = answer.json()["message"]
    return message


@pytest.mark.parametrize(
    ("api", "asked", "said"),
    [
        ("cohere", "query", "search_query"),
        ("cohere", "search_query", "search_query"),
        ("cohere", "document", "search_document"),
        ("cohere", "classification", "classification"),
        ("cohere", "clustering", "clustering"),
        ("cohere", None, "search_document"),
        ("voyage", "query", "query"),
        ("voyage", "passage", "document"),
        ("voyage", None, None),
        ("jina", "query", "retrieval.query"),
        ("jina", "document", "retrieval.passage"),
        ("jina", "sts", "text-matching"),
        ("jina", "clustering", "separation"),
        ("jina", None, None),
        ("sekisho", "query", "query"),
        ("sekisho", "sts", "sts"),
        ("sekisho", None, None),
        ("openai", "query", None),
        ("vllm", "document", None),
        ("tei", "query", None),
    ],
)
def test_the_kind_of_a_text_in_the_services_words(
    gateway: MakeGateway, api: str, asked: str | None, said: str | None
) -> None:
    with started(api) as service:
        rows = rows_of(gateway(entry(api, service.url)).embed("神社", input_type=asked))
    np.testing.assert_array_equal(rows[0], vector("神社", kind=said))


def test_a_kind_that_the_service_lacks_is_refused_here(gateway: MakeGateway) -> None:
    with started("voyage") as service:
        message = refused(gateway(entry("voyage", service.url)).embed("a", input_type="sts"), "input_type")
        assert "query, document" in message
        assert service.calls == []


def test_words_of_the_registry_stand_in_for_the_apis(gateway: MakeGateway) -> None:
    with started("jina") as service:
        front = gateway(entry("jina", service.url, kinds="{query: separation, code: classification}"))
        np.testing.assert_array_equal(rows_of(front.embed("a", input_type="query"))[0], vector("a", kind="separation"))
        coded = rows_of(front.embed("a", input_type="code"))[0]
        np.testing.assert_array_equal(coded, vector("a", kind="classification"))
        assert "query, code" in refused(front.embed("a", input_type="document"), "input_type")
        assert "code" in refused(front.embed("a", input_type="nonsense"), "input_type")


def test_a_service_is_told_no_kind_where_the_registry_says_so(gateway: MakeGateway) -> None:
    with started("jina") as service:
        rows = rows_of(gateway(entry("jina", service.url, kinds="{}")).embed("a", input_type="sts"))
        assert "task" not in service.calls[0].body
    np.testing.assert_array_equal(rows[0], vector("a"))


def test_prompts_of_the_registry_are_put_before_the_text(gateway: MakeGateway) -> None:
    with started("openai") as service:
        front = gateway(entry("openai", service.url, more=RURI))
        rows_of(front.embed("神社", "検索クエリ: 寺", input_type="query"))
        assert service.calls[0].body["input"] == ["検索クエリ: 神社", "検索クエリ: 寺"]
        rows_of(front.embed("神社"))
        assert service.calls[1].body["input"] == ["神社"]
        assert "query, document" in refused(front.embed("a", input_type="sts"), "input_type")


def test_token_ids_are_sent_as_the_text_behind_them(gateway: MakeGateway) -> None:
    with started("openai") as service:
        front = gateway(entry("openai", service.url))
        rows_of(front.post("/v1/embeddings", model="far", input=[[15339, 1917]]))
        assert service.calls[0].body["input"] == ["hello world"]


@pytest.mark.parametrize(
    ("api", "field"),
    [
        ("openai", "dimensions"), ("vllm", "dimensions"), ("jina", "dimensions"), ("tei", "dimensions"),
        ("sekisho", "dimensions"), ("cohere", "output_dimension"), ("voyage", "output_dimension"),
    ],
)  # fmt: skip
def test_dimensions_are_asked_of_the_service(gateway: MakeGateway, api: str, field: str) -> None:
    with started(api) as service:
        front = gateway(entry(api, service.url))
        rows = rows_of(front.embed("a", "b", dimensions=8))
        assert service.calls[0].body[field] == 8
        assert rows.shape == (2, 8)
        rows_of(front.embed("a"))
        assert field not in service.calls[1].body
    kind = "search_document" if api == "cohere" else None
    np.testing.assert_array_equal(rows[1], vector("b", 8, kind))


def test_dimensions_are_cut_here_where_the_registry_allows_it(gateway: MakeGateway) -> None:
    with started("tei") as service:
        front = gateway(entry("tei", service.url, more="allow_truncate_dimensions: true"))
        np.testing.assert_allclose(rows_of(front.embed("a", dimensions=8))[0], vector("a", 8), atol=1e-7)
        assert "dimensions" not in service.calls[0].body
        assert "1 to 32" in refused(front.embed("a", dimensions=33), "dimensions")
        fresh = gateway(entry("tei", service.url, more="allow_truncate_dimensions: true"))
        assert "1 to 32" in refused(fresh.embed("a", dimensions=33), "dimensions"), "also as the very first request"


def test_what_is_cut_here_is_normalised_again_also_where_the_width_is_known(gateway: MakeGateway) -> None:
    with started("tei") as service:
        front = gateway(entry("tei", service.url, more="dimensions: 32, allow_truncate_dimensions: true"))
        np.testing.assert_allclose(rows_of(front.embed("a", dimensions=8))[0], vector("a", 8), atol=1e-7)


def test_only_widths_that_the_registry_lists_are_asked_for(gateway: MakeGateway) -> None:
    with started("voyage") as service:
        front = gateway(entry("voyage", service.url, more="dimensions: 32, matryoshka: [16]"))
        np.testing.assert_array_equal(rows_of(front.embed("a", dimensions=16))[0], vector("a", 16))
        rows_of(front.embed("a", dimensions=32))
        assert [call.body.get("output_dimension") for call in service.calls] == [16, None]
        assert "16, 32" in refused(front.embed("a", dimensions=8), "dimensions")
        assert len(service.calls) == 2


def test_a_service_that_cannot_cut_is_found_out(gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    with started("openai") as service:
        monkeypatch.setitem(service.wire.routes, "/v1/embeddings", _blind_to_dimensions(service))
        front = gateway(entry("openai", service.url))
        assert "32 dimensions, not 8" in refused(front.embed("a", dimensions=8), "dimensions")
        assert "-1" in refused(front.embed("a", dimensions=-1), "dimensions")


def _blind_to_dimensions(service: Service) -> Callable[..., object]:
    route = service.wire.routes["/v1/embeddings"]
    return lambda body: route({name: value for name, value in body.items() if name != "dimensions"})


def test_another_width_than_the_registrys_is_no_answer(gateway: MakeGateway) -> None:
    with started("openai") as service:
        answer = gateway(entry("openai", service.url, more="dimensions: 64")).embed("a")
    assert answer.status_code == 502
    assert "32 dimensions, and models.yaml says 64" in answer.json()["message"]


def test_the_width_is_known_after_the_first_answer(gateway: MakeGateway) -> None:
    with started("openai") as service:
        front = gateway(entry("openai", service.url))
        assert front.get("/v1/models/far").json()["dimensions"] is None
        front.embed("a")
        assert front.get("/v1/models/far").json()["dimensions"] == WIDTH
        listed = front.get("/v1/models/far").json()
    assert (listed["owned_by"], listed["state"], listed["max_tokens"]) == ("openai", "loaded", None)


def test_vectors_are_normalised_as_the_registry_or_the_request_says(gateway: MakeGateway) -> None:
    unit, long = vector("a"), vector("a") * np.float32(3)
    with started("tei") as service:
        as_given = gateway(entry("tei", service.url))
        np.testing.assert_array_equal(rows_of(as_given.embed("a"))[0], unit)
        assert "normalize" not in service.calls[0].body
        raw = gateway(entry("tei", service.url, more="normalize: false"))
        np.testing.assert_array_equal(rows_of(raw.embed("a"))[0], long)
        assert service.calls[1].body["normalize"] is False
        np.testing.assert_allclose(rows_of(raw.embed("a", normalize=True))[0], unit, atol=1e-7)


def test_what_a_service_does_not_normalise_is_normalised_here(
    gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started("tei") as service:
        route = service.wire.routes["/embed"]
        monkeypatch.setitem(service.wire.routes, "/embed", lambda body: route({**body, "normalize": False}))
        front = gateway(entry("tei", service.url, more="normalize: true"))
        np.testing.assert_allclose(rows_of(front.embed("a"))[0], vector("a"), atol=1e-7)
        plain = rows_of(front.embed("a", normalize=False))[0]
        np.testing.assert_allclose(plain, vector("a") * np.float32(3), rtol=1e-6)


def test_half_a_character_is_refused_before_a_call(gateway: MakeGateway) -> None:
    with started("tei") as service:
        front = gateway(entry("tei", service.url, kind="reranker"))
        with pytest.raises(InvalidRequest, match=r"input\[1\] holds half of a surrogate pair"):
            front.scores("q", "a", "\ud83d")
        assert service.calls == []


@pytest.mark.parametrize(("api", "fine"), [("cohere", True), ("tei", True), ("sekisho", True), ("voyage", False)])
def test_the_start_is_cut_where_the_service_can(gateway: MakeGateway, api: str, *, fine: bool) -> None:
    with started(api) as service:
        answer = gateway(entry(api, service.url)).embed("a", truncate="START")
        if fine:
            assert answer.status_code == 200
            sent = service.calls[0].body
            assert sent.get("truncate") == "START" or sent.get("truncation_direction") == "Left"
        else:
            assert "not its start" in refused(answer, "truncate")


def test_the_services_complaint_reaches_the_client_without_the_key(
    gateway: MakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started("openai") as service:
        front = gateway(entry("openai", service.url, model="other"))
        answer = front.embed("a")
        assert answer.status_code == 502
        assert "`model` or `base_url`" in answer.json()["message"]
        key = service.calls[0].headers["authorization"].removeprefix("Bearer ")
        monkeypatch.setitem(service.wire.routes, "/v1/embeddings", _complaining(key))
        message = refused(front.embed("a"))
        assert message == "The service behind 'far' refuses the request: the key … may not send this"


def _complaining(key: str) -> Callable[..., object]:
    def refuse(_body: object) -> object:
        raise Refused(400, f"the key {key} may not send this")

    return refuse


def test_pairs_of_several_queries_are_calls_of_each(gateway: MakeGateway) -> None:
    pairs = [("q", "a"), ("r", "b"), ("q", "c"), ("r", "a")]
    with started("jina") as service:
        front = gateway(entry("jina", service.url, kind="reranker"))

        async def infer() -> list[float]:
            async with front.parts.pool.use(front.parts.catalog.registry.find("far")) as engine:
                passages = [Passage(query, pair=document) for query, document in pairs]
                rows: list[float] = (await engine.infer(passages, "end")).rows[:, 0].tolist()
                return rows

        assert front.runner.run(infer()) == [score(*pair) for pair in pairs]
        assert sorted((call.body["query"], *call.body["documents"]) for call in service.calls) == [
            ("q", "a", "c"), ("r", "b", "a"),
        ]  # fmt: skip


def test_the_longest_document_that_is_read_is_asked_of_cohere(gateway: MakeGateway) -> None:
    with started("cohere") as service:
        gateway(entry("cohere", service.url, kind="reranker")).scores("q", "a", document_tokens=256)
        assert service.calls[0].body["max_tokens_per_doc"] == 256
