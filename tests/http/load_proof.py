"""Proof under load: every client gets its own right vectors, whoever hangs up beside it. `scripts/load` runs it.

The vectors to compare with are computed beforehand in this process, one text at a time, on the same engine in the same
number format.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from sekisho.assemble import assemble
from sekisho.contract import Rows
from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import choose
from sekisho.service.embed import EmbedRequest
from sekisho.settings import EngineName, Settings
from tests.goldens.corpus import load_texts
from tests.http.live import Server, serving

REPOSITORY = Path(__file__).parents[2]
MODEL = "all-minilm-l6-v2"

#: Cosine of a vector made in company with that of the same text alone: padding changes how sums are grouped.
LEAST_COSINE = {"fp32": 0.99999, "bf16": 0.9999}
LEAST_COSINE_INVARIANT = 0.999999

_MIB = 1 << 20
_MORE_RESIDENT_MIB = 100
_MORE_THREADS = 4


@dataclass
class Storm:
    """One run. `worst`: the lowest cosine; `mistaken`: texts whose vector was nearer to another text's."""

    requests: int = 0
    served: int = 0
    left: int = 0
    texts: int = 0
    worst: float = 1.0
    mistaken: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Candidates:
    """Distinct texts of all lengths, each with its vector as computed alone."""

    def __init__(self, texts: list[str], rows: Rows) -> None:
        self.texts = texts
        self._rows = rows.astype(np.float64)
        self._rows /= np.linalg.norm(self._rows, axis=1, keepdims=True)

    def judge(self, wanted: list[int], rows: Rows, storm: Storm) -> None:
        """Compare the rows with those of the texts `wanted`, and with those of all others."""
        unit = rows.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        cosines = unit @ self._rows.T
        storm.texts += len(wanted)
        storm.worst = min(storm.worst, float(cosines[range(len(wanted)), wanted].min()))
        storm.mistaken += int((cosines.argmax(axis=1) != wanted).sum())


def texts_of_all_lengths(count: int, seed: int) -> list[str]:
    """Distinct texts of 3 to 220 English words."""
    words = sorted({word for text in load_texts() for word in re.findall(r"\b[a-z]{3,12}\b", text)})
    rng = random.Random(seed)
    return [" ".join(rng.choices(words, k=min(220, 3 + int(rng.expovariate(1 / 30))))) for _ in range(count)]


def candidates(home: Path, models: Path, engine: EngineName, count: int = 400, seed: int = 1) -> Candidates:
    """The texts and their vectors, made here without a server."""
    texts = texts_of_all_lengths(count, seed)

    async def one_by_one() -> Rows:
        parts = assemble(Settings(home=home, models=models, engine=engine, offline=True))
        try:
            alone = [(await parts.embed.embed(EmbedRequest([text], model=MODEL))).rows for text in texts]
        finally:
            await parts.pool.close()
        return np.concatenate(alone)

    return Candidates(texts, asyncio.run(one_by_one()))


def storm(
    server: Server, known: Candidates, *, requests: int, concurrency: int, hang_up: float = 0.1, seed: int = 2
) -> Storm:
    """Send the requests, so many at once; a share `hang_up` of them closes the socket at a random moment."""
    result = Storm(requests=requests)
    rng = random.Random(seed)
    plans = [
        ([rng.randrange(len(known.texts)) for _ in range(rng.choice([1, 1, 1, 1, 2, 4, 16]))], rng.random() < hang_up)
        for _ in range(requests)
    ]
    began = time.perf_counter()
    asyncio.run(_run_all(server, known, plans, concurrency, result))
    result.seconds = time.perf_counter() - began
    return result


async def _run_all(
    server: Server, known: Candidates, plans: list[tuple[list[int], bool]], concurrency: int, result: Storm
) -> None:
    waiting = iter(plans)
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=120, trust_env=False) as client:

        async def one_after_another() -> None:
            for wanted, leaves in waiting:
                body = {"input": [known.texts[i] for i in wanted], "model": MODEL, "encoding_format": "base64"}
                if leaves:
                    await _leave(server, body)
                    result.left += 1
                else:
                    await _stay(client, body, wanted, known, result)

        await asyncio.gather(*(one_after_another() for _ in range(concurrency)))


async def _stay(
    client: httpx.AsyncClient, body: Mapping[str, object], wanted: list[int], known: Candidates, result: Storm
) -> None:
    response = await client.post("/v1/embeddings", json=body)
    if response.status_code != 200:
        result.failures.append(f"{response.status_code} {response.text[:200]}")
        return
    data = response.json()["data"]
    rows = np.stack([np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in data])
    if len(rows) != len(wanted):
        result.failures.append(f"{len(rows)} vectors for {len(wanted)} texts")
        return
    known.judge(wanted, rows, result)
    result.served += 1


async def _leave(server: Server, body: Mapping[str, object]) -> None:
    """Send a request, or the first part of one, and close the socket a little later."""
    payload = json.dumps(body).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n".encode()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    whole = head + payload
    writer.write(whole if random.random() < 0.8 else whole[: random.randrange(len(whole))])
    await asyncio.sleep(random.random() * 0.1)
    writer.transport.abort()


def burst(server: Server, known: Candidates, clients: int = 50) -> Storm:
    """So many first requests at once on a server that has loaded nothing yet."""
    result = Storm(requests=clients)
    plans = [([number % len(known.texts)], False) for number in range(clients)]
    began = time.perf_counter()
    asyncio.run(_run_all(server, known, plans, clients, result))
    result.seconds = time.perf_counter() - began
    return result


def judge(result: Storm, least_cosine: float) -> list[str]:
    """What is wrong with a run; empty where nothing is."""
    wrong = list(dict.fromkeys(result.failures))[:5]
    if result.served + result.left != result.requests:
        wrong.append(f"{result.requests} requests, but {result.served} served and {result.left} left")
    if result.worst < least_cosine:
        wrong.append(f"cosine {result.worst:.8f} is below {least_cosine}")
    if result.mistaken:
        wrong.append(f"{result.mistaken} vectors are nearer to another text's")
    return wrong


def judge_afterwards(server: Server, threads: int, resident: int) -> list[str]:
    """What the load has left behind; empty where nothing."""
    server.wait_until_idle()
    wrong = []
    if server.client.get("/readyz").status_code != 200:
        wrong.append("the server is not ready any more")
    if server.threads > threads + _MORE_THREADS:
        wrong.append(f"{server.threads} threads, {threads} before")
    if server.resident_bytes > resident + _MORE_RESIDENT_MIB * _MIB:
        wrong.append(f"{server.resident_bytes // _MIB} MiB resident, {resident // _MIB} before")
    return wrong


def warm(server: Server, known: Candidates) -> None:
    """Load the model, start every thread, and let memory grow to what a full batch takes."""
    longest = sorted(known.texts, key=len)[-32:]
    for texts in (longest, longest[:4], known.texts[:1]):
        assert server.embed(input=texts, model=MODEL).status_code == 200


# --- the command ---


def _report(name: str, result: Storm, wrong: list[str], **more: object) -> bool:
    facts = {
        "requests": result.requests,
        "served": result.served,
        "hung up": result.left,
        "texts": result.texts,
        "lowest cosine": f"{result.worst:.8f}",
        "mistaken": result.mistaken,
        "seconds": f"{result.seconds:.1f}",
    } | more
    print(f"{name}: {'; '.join(f'{key} {value}' for key, value in facts.items())}")
    for line in wrong:
        print(f"{name}: WRONG: {line}")
    return not wrong


def _run_load(home: Path, models: Path, options: argparse.Namespace, known: Candidates, least: float) -> bool:
    """In two halves: what the first takes in memory is kept for reuse, what the second adds would be a leak."""
    with serving(home, models, engine=options.engine) as server:
        warm(server, known)
        residents, good = [server.resident_bytes // _MIB], True
        for half in (1, 2):
            threads, resident = server.threads, server.resident_bytes
            run = storm(server, known, requests=options.requests // 2, concurrency=options.concurrency, seed=half)
            wrong = judge(run, least) + (judge_afterwards(server, threads, resident) if half == 2 else [])
            server.wait_until_idle()
            residents.append(server.resident_bytes // _MIB)
            good &= _report(
                f"load, half {half}",
                run,
                wrong,
                dropped=int(server.metric("sekisho_dropped_total")),
                queue=int(server.metric("sekisho_queue_tokens")),
                threads=f"{threads} → {server.threads}",
                resident=f"{' → '.join(map(str, residents))} MiB",
            )
        return good


def _run_burst(home: Path, models: Path, options: argparse.Namespace, known: Candidates, least: float) -> bool:
    with serving(home, models, engine=options.engine) as server:
        result = burst(server, known)
        loads = int(server.metric("sekisho_loads_total", model=MODEL))
        wrong = judge(result, least) + ([f"{loads} loads"] if loads != 1 else [])
        return _report("burst", result, wrong, loads=loads)


def _run_invariance(home: Path, models: Path) -> bool:
    known = candidates(home, models, "onnxruntime")
    with serving(home, models, engine="onnxruntime") as server:
        warm(server, known)
        before = server.metric("sekisho_batches_total")
        result = storm(server, known, requests=600, concurrency=32, hang_up=0.0)
        company = result.texts / (server.metric("sekisho_batches_total") - before)
        wrong = judge(result, LEAST_COSINE_INVARIANT) + (["hardly any batches"] if company < 2 else [])
        return _report("invariance (onnxruntime)", result, wrong, **{"texts a batch": f"{company:.1f}"})


def main() -> int:
    """Run the proofs; how many of them failed."""
    parser = argparse.ArgumentParser(prog="scripts/load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--engine", choices=["auto", "onnxruntime", "openvino"], default="auto")
    parser.add_argument("--only", choices=["load", "burst", "invariance"])
    parser.add_argument("--burst", dest="only", action="store_const", const="burst", help="the same as --only burst")
    options = parser.parse_args()
    models = REPOSITORY / "models.yaml"
    precision = choose(this_machine(), options.engine, "auto").precision
    print(f"{MODEL}, engine {options.engine}, {precision}, {this_machine().cores} cores")
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        known = candidates(home, models, options.engine)
        proofs: dict[str, Callable[[], bool]] = {
            "load": lambda: _run_load(home, models, options, known, LEAST_COSINE[precision]),
            "burst": lambda: _run_burst(home, models, options, known, LEAST_COSINE[precision]),
            "invariance": lambda: _run_invariance(home, models),
        }
        chosen = [run for name, run in proofs.items() if options.only in {None, name}]
        return sum(not run() for run in chosen)


if __name__ == "__main__":
    sys.exit(main())
