"""On a card: our server beside sentence-transformers in fp16, at ruri-v3-310m's shape with random weights, interleaved.

P1 bulk and P2 single texts at 64 clients ÷ the engine alone; P3 both ÷ sentence-transformers' `encode` in process, at
the best of its batch sizes; P4 p99 at 64 clients ÷ what 64 callers of one `encode` at a time would see; P7 rerank, one
query and 100 documents, ÷ its CrossEncoder. Vectors of both are compared too: a fast wrong answer is none.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.full_size_models import MODELS, write_checkpoint
from benchmarks.gpu_peer import Peer, peer
from benchmarks.rerank import ask_us
from sekisho.bench.figures import quantile
from sekisho.bench.ideal import Ideal, batches_of_neighbours
from sekisho.bench.load import send, vectors
from sekisho.bench.mix import texts
from sekisho.bench.plan import Endpoint, Plan
from sekisho.bench.server import Question, sekisho
from sekisho.runtime.select import batch_tokens
from sekisho.settings import Settings
from tests.checkpoints_encoders import TinyEncoder, tiny_encoder

#: Batch sizes that sentence-transformers is given: its default, and what a card is better filled with.
_BATCH_SIZES = (32, 128, 512)
_CLIENTS, _BULK = 64, (4, 64)
_COMPARED = 32
#: tokenizer_config.json as transformers reads it.
_TOKENIZER = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": "<pad>",
    "model_input_names": ["input_ids", "attention_mask"],
}


@dataclass(frozen=True)
class Models:
    """The two checkpoints, and the registry that names them."""

    embedding: Path
    reranker: Path
    registry: Path


def make(folder: Path, *, tiny: bool) -> Models:
    """Checkpoints that both sides can read."""
    specs: dict[str, TinyEncoder] = {}
    for kind, full, small in (
        ("embedding", "ruri-v3-310m", "modernbert-mean"),
        ("reranker", "ruri-v3-reranker-310m", "modernbert-reranker-cls"),
    ):
        found = tiny_encoder(small) if tiny else next(spec for spec in MODELS if spec.name == full)
        if isinstance(found, TinyEncoder):
            specs[kind] = found
    paths = {kind: write_checkpoint(spec, folder / kind) for kind, spec in specs.items()}
    for kind, path in paths.items():
        _complete(path, specs[kind].config["hidden_size"])
        tokenizer = _TOKENIZER | {"model_max_length": specs[kind].limit}
        (path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    models = [{"name": kind, "kind": kind, "source": {"path": str(path)}} for kind, path in paths.items()]
    registry = folder / "models.yaml"
    registry.write_text(yaml.safe_dump({"version": 1, "defaults": {kind: kind for kind in paths}, "models": models}))
    return Models(paths["embedding"], paths["reranker"], registry)


def _complete(checkpoint: Path, width: int) -> None:
    """What sentence-transformers wants of its own files, and a checkpoint for us does without."""
    modules, pooling = checkpoint / "modules.json", checkpoint / "1_Pooling" / "config.json"
    if modules.exists():
        named = [{"name": str(number)} | module for number, module in enumerate(json.loads(modules.read_text()))]
        modules.write_text(json.dumps(named))
        pooling.write_text(json.dumps({"word_embedding_dimension": width} | json.loads(pooling.read_text())))


@dataclass(frozen=True)
class Stand:
    """What is measured, all of it loaded. encode, rerank: the peer's; None where it is left out."""

    endpoint: Endpoint
    ideal: Ideal
    texts: list[str]
    seconds: float
    documents: int
    encode: Peer | None
    rerank: Peer | None

    def round(self, number: int) -> dict[str, float]:
        """Every measurement once, ours and the peer's in turn."""
        encoded = self.ideal.encode(self.texts)
        lengths = [len(tokens) for tokens in encoded]
        limit = batch_tokens(None, self.ideal.choice.device)
        row = {"tokens/s, engine alone": self.ideal.tokens_per_second(batches_of_neighbours(encoded, limit))}
        for name, clients, size in (("bulk", *_BULK), ("single texts, 64 clients", _CLIENTS, 1)):
            load = send(Plan(self.endpoint, self.texts, size, clients, seconds=self.seconds))
            tokens = sum(sum(lengths[at * size : (at + 1) * size]) for at, _, _ in load.requests)
            row[f"tokens/s, {name}"] = tokens / load.seconds
            if size == 1:
                row["ms, p99 at 64 clients"] = load.p99
        alone = row["tokens/s, engine alone"]
        row["P1 bulk ÷ engine alone"] = row["tokens/s, bulk"] / alone
        row["P2 single texts ÷ engine alone"] = row["tokens/s, single texts, 64 clients"] / alone
        if self.encode is not None:
            row |= self._beside(self.encode, row, lengths)
        row |= self._reranked(number)
        return row

    def _beside(self, other: Peer, ours: Mapping[str, float], lengths: list[int]) -> dict[str, float]:
        """sentence-transformers on the same texts; tokens by our count for both."""
        took = [other.ask({"texts": self.texts, "batch_size": size})["seconds"] for size in _BATCH_SIZES]
        singles = [other.ask({"texts": [text], "batch_size": 1})["seconds"] for text in self.texts[:50]]
        fastest = sum(lengths) / min(took)
        queued = 1000 * _CLIENTS * statistics.mean(singles)
        return {
            "tokens/s, sentence-transformers": fastest,
            "ms, sentence-transformers, one text": 1000 * quantile(singles, 0.5),
            "P3 bulk ÷ sentence-transformers": ours["tokens/s, bulk"] / fastest,
            "P3 single texts ÷ its single texts": ours["tokens/s, single texts, 64 clients"]
            / (sum(lengths[:50]) / sum(singles)),
            "P4 p99 ÷ 64 of its calls": ours["ms, p99 at 64 clients"] / queued,
        }

    def _reranked(self, number: int) -> dict[str, float]:
        sample = texts(self.documents + 1, seed=1000 + number)
        query, documents = sample[0][:60], sample[1:]
        ours = ask_us(self.endpoint.port, query, documents)
        row = {"pairs/s": self.documents / ours["seconds"]}
        if self.rerank is None:
            return row
        other = self.rerank.ask({"query": query, "documents": documents})
        return row | {
            "pairs/s, CrossEncoder": self.documents / other["seconds"],
            "P7 rerank ÷ CrossEncoder": other["seconds"] / ours["seconds"],
            "largest difference of a score": max(
                abs(a - b) for a, b in zip(ours["scores"], other["scores"], strict=True)
            ),
        }

    def cosine(self) -> float | None:
        """The lowest between our vectors and the peer's, text by text."""
        if self.encode is None:
            return None
        some = self.texts[:_COMPARED]
        kept = vectors(send(Plan(self.endpoint, some, 1, 1, keep=list(range(len(some))))))
        ours = np.stack([kept[place] for place in range(len(some))])
        answer = self.encode.ask({"texts": some, "batch_size": 32})
        rows = np.frombuffer(base64.b64decode(answer["rows_base64"]), "<f4").reshape(ours.shape)
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(rows, axis=1)
        return float(((ours * rows).sum(axis=1) / norms).min())


def measure(given: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The report: what it ran on, the rounds, how near both sides are."""
    say("writing two checkpoints")
    models = make(folder, tiny=given.tiny)
    home = folder / "home"
    variables = {"SEKISHO_MODELS": models.registry, "SEKISHO_HOME": home, "SEKISHO_DEVICE": given.device}
    with ExitStack() as stack:
        say("preparing and loading")
        settings = Settings(models=models.registry, home=home, device=given.device)
        ideal = Ideal(settings, _spec(settings))
        stack.callback(ideal.close)
        environment = {name: str(value) for name, value in variables.items()} | {"SEKISHO_CACHE_MIB": "0"}
        served = stack.enter_context(sekisho(None, environment, first=Question("GET", "/healthz")))
        peers: list[Peer | None] = [None, None]
        if given.peer is not None:
            where = {"embedding": models.embedding, "reranker": models.reranker}.items()
            peers = [stack.enter_context(peer(given.peer, *each, given.device, given.dtype)) for each in where]
        endpoint = replace(served.endpoint, model="embedding")
        sample = texts(given.texts, seed=5)
        stand = Stand(endpoint, ideal, sample, given.seconds, given.documents, *peers)
        say("warming up")
        stand.round(0)
        rounds = []
        for number in range(1, given.rounds + 1):
            say(f"round {number} of {given.rounds}")
            rounds.append(stand.round(number))
        return {
            "engine": f"{ideal.choice.engine}, {ideal.choice.device}, {ideal.choice.precision}: {ideal.choice.reason}",
            "peer": None if peers[0] is None else peers[0].about | {"dtype": given.dtype},
            "lowest cosine to the peer": stand.cosine(),
            "rounds": rounds,
        }


def _spec(settings: Settings) -> Any:
    from sekisho.assemble import open_catalog

    return open_catalog(settings).registry.default("embedding")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench-gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="as SEKISHO_DEVICE; cpu tries the script itself")
    parser.add_argument("--peer", help="python of an environment with sentence-transformers and PyTorch for the card")
    parser.add_argument("--dtype", default="float16", choices=("float16", "bfloat16", "float32"), help="the peer's")
    parser.add_argument("--tiny", action="store_true", help="checkpoints of a few layers, to try the script")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of each load")
    parser.add_argument("--texts", type=int, default=4096)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--json", type=Path, help="write the report here too")
    given = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(given, Path(folder), lambda step: console.print(f"… {step}", style="dim"))
    for name in ("engine", "peer", "lowest cosine to the peer"):
        console.print(f"{name}: {report[name]}", highlight=False, markup=False)
    table = Table()
    for heading in ("measured", "median", "min", "max"):
        table.add_column(heading, justify="left" if heading == "measured" else "right")
    for key in report["rounds"][0]:
        values = [row[key] for row in report["rounds"]]
        table.add_row(key, *(f"{value:,.4g}" for value in (statistics.median(values), min(values), max(values))))
    console.print(table)
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
