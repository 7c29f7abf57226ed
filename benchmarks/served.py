"""What serving costs: tokens a second through HTTP ÷ what the engine does in process at best, interleaved.

The ideal: the same prepared model, texts tokenised beforehand, batches of neighbours in length, every lane busy,
no HTTP.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.client import Plan, send
from benchmarks.mix import texts
from sekisho.assemble import open_catalog
from sekisho.contract import Passage, Tokens
from sekisho.runtime.load import load_model
from sekisho.runtime.machine import this_machine
from sekisho.runtime.model import LocalModel
from sekisho.runtime.select import choose
from sekisho.settings import Settings

_SEKISHO = Path(sys.executable).with_name("sekisho")


class Ideal:
    """The engine alone."""

    def __init__(self, settings: Settings, sample: list[str]) -> None:
        catalog = open_catalog(settings)
        spec = catalog.registry.default("embedding")
        prepared = catalog.preparer.prepare(spec)
        self.choice = choose(this_machine(), settings.engine, spec.precision, settings.threads, prepared.contract)
        self._model: LocalModel = load_model(prepared.directory, prepared.contract, self.choice)
        self._passages = [Passage(text) for text in sample]
        encoded = self._model.encode(self._passages, "end")
        self.tokens = sum(map(len, encoded))
        self._batches = list(_batches(sorted(encoded, key=len), settings.batch_tokens))

    def tokens_per_second(self) -> float:
        waiting, lock = iter(self._batches), threading.Lock()

        def lane(number: int) -> None:
            while True:
                with lock:
                    batch = next(waiting, None)
                if batch is None:
                    return
                self._model.run(number, batch)

        threads = [threading.Thread(target=lane, args=(number,)) for number in range(self._model.lanes)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.tokens / (time.perf_counter() - began)

    def single_p50_ms(self, count: int) -> float:
        """Tokenise and run one text after the other, as a client alone would have it."""
        taken = []
        for passage in self._passages[:count]:
            began = time.perf_counter()
            self._model.run(0, self._model.encode([passage], "end"))
            taken.append((time.perf_counter() - began) * 1000)
        return statistics.median(taken)


def _batches(encoded: list[Tokens], limit: int) -> Iterator[list[Tokens]]:
    batch: list[Tokens] = []
    for tokens in encoded:
        if batch and len(tokens) * (len(batch) + 1) > limit:
            yield batch
            batch = []
        batch.append(tokens)
    yield batch


@contextmanager
def server(
    variables: Mapping[str, str] | None = None, first: str = "/embed?q=x"
) -> Iterator[tuple[int, psutil.Process]]:
    """A server of its own that has answered its `first` request, by default with the model: (its port, its process)."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [_SEKISHO, "serve", "--port", str(port), "--log-level", "warning"],
        stderr=subprocess.DEVNULL,
        env=os.environ | dict(variables or {}),
    )
    try:
        _wait(port, first)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int, first: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{first}", timeout=60).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server did not start")


def _metric(port: int, name: str) -> float:
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def measure(rounds: int, count: int) -> dict[str, Any]:
    """One run: `rounds` times ideal, bulk, ideal, single texts, one client."""
    sample = texts(count)
    ideal = Ideal(Settings(), sample)
    rows: list[dict[str, float]] = []
    with server() as (port, process):
        send(Plan("127.0.0.1", port, sample, 64, 4))  # warm, as the ideal is after its first round
        ideal.tokens_per_second()
        for _ in range(rounds):
            before = ideal.tokens_per_second()
            bulk = send(Plan("127.0.0.1", port, sample, 64, 4))
            between = ideal.tokens_per_second()
            padded, real = _metric(port, "sekisho_padded_tokens_total"), _metric(port, "sekisho_tokens_total")
            single = send(Plan("127.0.0.1", port, sample, 1, 64))
            padding = (_metric(port, "sekisho_padded_tokens_total") - padded) / (
                _metric(port, "sekisho_tokens_total") - real
            )
            after = ideal.tokens_per_second()
            alone = send(Plan("127.0.0.1", port, sample[:128], 1, 1))
            alone_ideal = ideal.single_p50_ms(128)
            rows.append(
                {
                    "ideal tokens/s": statistics.mean((before, between, after)),
                    "bulk ÷ ideal": ideal.tokens / bulk["seconds"] / statistics.mean((before, between)),
                    "single 64 ÷ ideal": ideal.tokens / single["seconds"] / statistics.mean((between, after)),
                    "single 64 p50 ms": single["p50_ms"],
                    "single 64 p99 ms": single["p99_ms"],
                    "padded ÷ real": padding,
                    "1 client p50 − in process, ms": alone["p50_ms"] - alone_ideal,
                    "client CPU ÷ time": single["client_cpu_seconds"] / single["seconds"],
                }
            )
        resident = process.memory_info().rss / 2**20
    return {
        "choice": str(ideal.choice),
        "texts": count,
        "tokens": ideal.tokens,
        "resident_mib": resident,
        "rounds": rows,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--json", type=Path, help="write the report here too")
    arguments = parser.parse_args()
    busy = os.getloadavg()[0]
    report = measure(arguments.rounds, arguments.texts)
    table = Table(title=f"{report['choice']}\nload before the run: {busy:.1f}", title_justify="left")
    for heading in ("measured", "median", "min", "max"):
        table.add_column(heading, justify="left" if heading == "measured" else "right")
    for key in report["rounds"][0]:
        values = [row[key] for row in report["rounds"]]
        table.add_row(key, *(f"{value:,.3f}" for value in (statistics.median(values), min(values), max(values))))
    table.add_row("server resident MiB", f"{report['resident_mib']:,.0f}", "", "")
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
