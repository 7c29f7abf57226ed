"""Endurance: what its figures mean, what its load process does with a server's answers, and a small run of it all."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import endurance
from benchmarks.endurance_load import Connections, Load
from benchmarks.endurance_plan import Answered, Ended, Kept, LoadPlan, Record, Stream, body, line, read, rows_of
from benchmarks.soak import STREAMS, Sizes, report, rows, soak

SINGLES = Stream("singles", "embed", "m", rate=1)
RERANK = Stream("reranks", "rerank", "r", size=2, clients=3, requests=4)


def answered(at: float, milliseconds: float = 10, stream: str = "singles", wrong: str = "") -> Answered:
    return Answered(stream, at, milliseconds, 1, 0, wrong)


# --- figures ---


def test_the_streams_together_keep_the_server_as_busy_as_wanted() -> None:
    alone = {"singles": 200.0, "reranks": 8.0}
    found = endurance.bounded((SINGLES, RERANK), alone, {"singles": 3, "reranks": 1}, 0.7)
    busy = {stream.name: stream.rate / alone[stream.name] for stream in found}
    assert busy == pytest.approx({"singles": 0.525, "reranks": 0.175})


def test_requests_a_second_are_over_the_time_from_first_to_last() -> None:
    answers = [answered(5 + second, 1000) for second in range(4)] + [answered(0, 500, "reranks")]
    assert endurance.requests_a_second(answers) == {"singles": 1.0, "reranks": 2.0}


def test_a_window_that_is_not_whole_is_left_out() -> None:
    answers = [answered(at, at) for at in (0, 1, 9, 10, 19.9, 20, 24)]
    found = endurance.windows(answers, 10, ended=25)
    assert [(window.at, window.answers, window.p50, window.p99) for window in found] == [
        (0, 3, 1, 9),
        (10, 2, 10, 19.9),
    ]


def test_drift_is_between_the_medians_of_the_outer_thirds() -> None:
    p99 = [10, 900, 10, 50, 60, 70, 20, 20, 1]
    found = endurance.windows([answered(number + 0.5, value) for number, value in enumerate(p99)], 1, ended=9)
    (drift,) = endurance.drifts(found)
    assert (drift.first, drift.last, drift.ratio) == (10, 20, 2)


def test_too_few_windows_show_no_drift() -> None:
    assert endurance.drifts(endurance.windows([answered(0), answered(1)], 1, ended=2)) == []


@pytest.mark.parametrize(("last", "is_flat"), [(100, True), (104, True), (106, False), (94, False)])
def test_memory_is_flat_within_five_percent_either_way(last: float, is_flat: bool) -> None:
    samples = [(moment, 500.0 if moment < 25 else last if moment >= 75 else 100.0) for moment in range(101)]
    ratio = endurance.growth([(float(moment), figure) for moment, figure in samples])
    assert ratio == last / 100
    assert endurance.flat(ratio) is is_flat


def test_errors_are_counted_by_what_was_wrong() -> None:
    answers = [answered(0, wrong="b"), answered(1, wrong="a"), answered(2), answered(3, wrong="a")]
    assert endurance.errors(answers) == [("a", 2), ("b", 1)]


# --- between the processes ---


def test_a_plan_comes_through_as_it_was() -> None:
    plan = LoadPlan(1234, (SINGLES, RERANK), Path("records"), seconds=1.5, retry=True)
    assert LoadPlan.parse(plan.dump()) == plan


def test_records_come_through_as_they_were(tmp_path: Path) -> None:
    records: list[Record] = [answered(0.5), Kept("singles", 7, "AACAPw==", 3), Ended(2.0, 0.25)]
    (tmp_path / "records").write_text("".join(line(record) + "\n" for record in records), "utf-8")
    assert list(read(tmp_path / "records")) == records


def test_a_kept_vector_is_what_was_answered() -> None:
    values = base64.b64encode(np.array([0.5, -2], np.float32).tobytes()).decode()
    assert Kept("singles", 7, values).row.tolist() == [0.5, -2]


def test_a_request_holds_its_texts() -> None:
    assert body(SINGLES, ["a"])["input"] == "a"
    assert body(replace(SINGLES, size=2), ["a", "b"])["input"] == ["a", "b"]
    assert body(RERANK, ["q", "a", "b"]) == {"model": "r", "query": "q", "documents": ["a", "b"]}


def test_scores_come_in_the_order_of_the_documents() -> None:
    answer = {"results": [{"index": 1, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.25}]}
    rows_found = rows_of("rerank", answer, 2)
    assert [Kept("", 0, row).row.tolist() for row in rows_found] == [[0.25], [0.75]]


@pytest.mark.parametrize("places", [[0], [1, 0], [0, 1, 2], [0, 0]])
def test_vectors_that_are_missing_or_out_of_order_are_an_error(places: list[int]) -> None:
    with pytest.raises(ValueError, match="for 2 texts"):
        rows_of("embed", {"data": [{"index": place, "embedding": "AACAPw=="} for place in places]}, 2)


# --- the load process, before a server that answers as told ---

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[int]:
    talks: list[asyncio.Task[None]] = []

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.append(task)
        await talk(reader, writer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(noted, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])
        await asyncio.gather(*talks)


async def one_request(reader: asyncio.StreamReader) -> bytes | None:
    """The body of the next request; None: the client has gone."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    except asyncio.IncompleteReadError:
        return None
    return await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n", maxsplit=1)[0]))


def reply(writer: asyncio.StreamWriter, status: str, content: bytes, *more: str) -> None:
    head = [f"HTTP/1.1 {status}", f"content-length: {len(content)}", *more]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + content)


def vectors(sent: bytes) -> bytes:
    texts = json.loads(sent)["input"]
    count = 1 if isinstance(texts, str) else len(texts)
    return json.dumps({"data": [{"index": place, "embedding": "AACAPw=="} for place in range(count)]}).encode()


def run_load(talk: Talk, folder: Path, stream: Stream, **fields: bool) -> list[Answered]:
    async def run() -> None:
        async with listening(talk) as port:
            plan = LoadPlan(port, (stream,), folder / "records", texts=8, **fields)
            with plan.records.open("w") as records:
                await Load(plan, records).run()

    asyncio.run(run())
    return [record for record in read(folder / "records") if isinstance(record, Answered)]


class Refusing:
    """Answers every second request with 429."""

    def __init__(self) -> None:
        self.requests = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (sent := await one_request(reader)) is not None:
            self.requests += 1
            if self.requests % 2:
                reply(writer, "429 Too Many Requests", b"{}", "retry-after: 0")
            else:
                reply(writer, "200 OK", vectors(sent))


def test_a_429_is_sent_again_and_counted(tmp_path: Path) -> None:
    stream = Stream("bulk", "embed", "m", size=3, requests=2)
    answers = run_load(Refusing().talk, tmp_path, stream, retry=True)
    assert [(one.texts, one.refused, one.wrong) for one in answers] == [(3, 1, ""), (3, 1, "")]


def test_without_retrying_a_429_is_an_error(tmp_path: Path) -> None:
    first, second = run_load(Refusing().talk, tmp_path, Stream("bulk", "embed", "m", requests=2))
    assert "429" in first.wrong
    assert not second.wrong


def test_an_answer_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    (answer,) = run_load(talk, tmp_path, Stream("bulk", "embed", "m", requests=1))
    assert "IncompleteReadError" in answer.wrong


def test_an_idle_connection_that_the_server_closed_is_no_error() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one_request(reader)
        reply(writer, "200 OK", b"{}")

    async def run() -> list[int]:
        async with listening(talk) as port:
            connections = Connections(port)
            statuses = [(await connections.post("/v1/embeddings", b"{}")).status for _ in range(3)]
            await connections.close()
            return statuses

    assert asyncio.run(run()) == [200, 200, 200]


# --- all of it, small ---


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, minilm_home: Path) -> tuple[dict[str, object], list[str]]:
    """The report of a run of two seconds, and the names of its rows."""
    sizes = Sizes(2, alone=0.2, window=0.5, idle=0.1, every=0.1, texts=64, kept=0.2)
    few = [replace(stream, size=min(stream.size, 4), clients=2) for stream in STREAMS]
    run = soak(sizes, tmp_path_factory.mktemp("soak"), minilm_home, few)
    assert {one.stream for one in run.answers} <= {stream.name for stream in STREAMS}
    assert run.samples
    for found in run.sameness.values():
        assert found.apart < 0.01  # a wrong text's vector would be far away
    return report(run), [row.what for row in rows(run)]


def test_a_small_run_has_no_error_and_compares_vectors(small: tuple[dict[str, object], list[str]]) -> None:
    written, names = small
    assert written["errors"] == []
    assert written["sameness"]
    assert "errors" in names
    json.dumps(written)


def test_a_run_is_drawn(small: tuple[dict[str, object], list[str]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.endurance_plot import draw

    draw(small[0], tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
