"""Reranking: pairs a second through our HTTP route ÷ sentence-transformers' CrossEncoder in process, interleaved.

One query and its documents a request, on a cross-encoder of a real one's shape (12 layers × 384, XLM-R's vocabulary of
250,002) with random weights. Scores of both are compared too: a fast wrong answer is none.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from sekisho.bench.mix import texts
from sekisho.bench.server import Question, sekisho
from tests.checkpoints_encoders import ROBERTA_MARKS, TinyEncoder, roberta_reranker, write_tiny_encoder

_PEER = Path(".envs/goldens/bin/python")
_NAME = "cross-encoder"
_CONFIG = {
    "architectures": ["XLMRobertaForSequenceClassification"],
    "model_type": "xlm-roberta",
    "num_hidden_layers": 12,
    "hidden_size": 384,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "vocab_size": 250_002,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
}
_MODEL = TinyEncoder(
    _NAME,
    1,
    _CONFIG,
    roberta_reranker,
    512,
    kind="reranker",
    marks=ROBERTA_MARKS,
    stored=((r"^(embeddings|encoder)\.", r"roberta.\1."),),
)


def make(folder: Path) -> Path:
    """The checkpoint, with what transformers' tokenizer needs too."""
    checkpoint = write_tiny_encoder(_MODEL, folder / _NAME)
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, "pad_token": "<pad>"}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return checkpoint


def write_registry(folder: Path, checkpoint: Path, precision: str) -> Path:
    """A registry of the one model."""
    model = {"name": _NAME, "kind": "reranker", "source": {"path": str(checkpoint)}, "precision": precision}
    path = folder / "models.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "defaults": {"reranker": _NAME}, "models": [model]}))
    return path


@contextmanager
def peer(checkpoint: Path) -> Iterator[subprocess.Popen[str]]:
    """The CrossEncoder, loaded."""
    command = [str(_PEER), "-m", "benchmarks.peers.cross_encoder", str(checkpoint)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError(f"{_PEER} could not load the model: scripts/goldens makes its environment")
        yield process
    finally:
        process.kill()
        process.wait()


def ask_peer(process: subprocess.Popen[str], query: str, documents: list[str]) -> dict[str, Any]:
    """{"seconds", "scores"} of one call."""
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the peer has no pipes")
    process.stdin.write(json.dumps({"query": query, "documents": documents}) + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def ask_us(port: int, query: str, documents: list[str]) -> dict[str, Any]:
    """The same of one request, scores in the order of the documents."""
    body = json.dumps({"query": query, "documents": documents}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    began = time.perf_counter()
    connection.request("POST", "/v1/rerank", body, {"content-type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    seconds = time.perf_counter() - began
    ranked = sorted(answer["results"], key=lambda result: result["index"])
    scores = [result["relevance_score"] for result in ranked]
    return {"seconds": seconds, "scores": scores, "tokens": answer["usage"]["total_tokens"]}


def measure(rounds: int, count: int, precision: str) -> dict[str, Any]:
    """`rounds` times us and the peer, on other texts each time."""
    rows: list[dict[str, float]] = []
    sample = texts((count + 1) * (rounds + 1), seed=7)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make(Path(folder))
        registry = write_registry(Path(folder), checkpoint, precision)
        home = {
            "SEKISHO_MODELS": str(registry),
            "SEKISHO_HOME": str(Path(folder) / "home"),
            "SEKISHO_CACHE_MIB": "0",
        }
        with peer(checkpoint) as theirs, sekisho(None, home, first=Question("GET", "/healthz")) as served:
            for number in range(rounds + 1):
                query, *documents = sample[number * (count + 1) : (number + 1) * (count + 1)]
                query = query[:60]
                ours, other = ask_us(served.endpoint.port, query, documents), ask_peer(theirs, query, documents)
                apart = max(abs(a - b) for a, b in zip(ours["scores"], other["scores"], strict=True))
                rows.append(
                    {
                        "pairs/s, Sekisho over HTTP": count / ours["seconds"],
                        "pairs/s, CrossEncoder in process": count / other["seconds"],
                        "ratio": other["seconds"] / ours["seconds"],
                        "largest difference of a score": apart,
                        "tokens a pair": ours["tokens"] / count,
                    }
                )
    # The first round loads, converts and warms.
    return {"documents": count, "precision": precision, "rounds": rows[1:]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench-rerank", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--precision", default="auto,fp32")
    parser.add_argument("--json", type=Path, help="write the report here too")
    given = parser.parse_args()
    reports = [measure(given.rounds, given.documents, precision) for precision in given.precision.split(",")]
    for report in reports:
        table = Table(title=f"1 query × {report['documents']} documents, precision {report['precision']}")
        for heading in ("measured", "median", "min", "max"):
            table.add_column(heading, justify="left" if heading == "measured" else "right")
        for key in report["rounds"][0]:
            values = [row[key] for row in report["rounds"] if math.isfinite(row[key])]
            shown = (statistics.median(values), min(values), max(values))
            table.add_row(key, *(f"{value:,.4g}" for value in shown))
        Console().print(table)
    if given.json:
        given.json.write_text(json.dumps(reports, indent=1))


if __name__ == "__main__":
    main()
