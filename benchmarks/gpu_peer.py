"""sentence-transformers on a card, in a process of its own; `peers/torch_card.py` is what runs there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PEER = Path(__file__).with_name("peers") / "torch_card.py"


class Peer:
    """sentence-transformers in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.about = self._read()

    def ask(self, given: Mapping[str, object]) -> dict[str, Any]:
        """One call, timed there."""
        if self._process.stdin is None:
            raise RuntimeError("the peer has no pipes")
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit(f"the peer ended with {self._process.wait()}: see what it printed above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def peer(python: str, kind: str, checkpoint: Path, device: str, dtype: str) -> Iterator[Peer]:
    """One that has loaded its model."""
    process = subprocess.Popen(
        [python, str(_PEER), kind, str(checkpoint), device, dtype],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Peer(process)
    finally:
        process.kill()
        process.communicate()
