"""Loads from a process of their own, and whether the vectors that came under load are those of the texts alone."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile

import numpy as np

from sekisho.bench.plan import Endpoint, Load, LoadFailed, Plan
from sekisho.contract import Rows

_KEPT = 0.01


class Loading:
    """A load that is under way."""

    def __init__(self, plan: Plan) -> None:
        # Files: a pipe that nobody reads yet would hold the load generator up at its end.
        self._out = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed when the result is read
        self._err = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sekisho.bench.client"],
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=self._err,
            text=True,
        )
        self._name = plan.endpoint.name
        if self._process.stdin is not None:
            with self._process.stdin as told:
                json.dump(plan.as_json(), told)

    def result(self) -> Load:
        """Waits for the end. Raises LoadFailed."""
        self._process.wait()
        with self._out, self._err:
            self._out.seek(0)
            self._err.seek(0)
            if self._process.returncode:
                told = self._err.read().strip() or "the load generator ended"
                raise LoadFailed(f"{self._name}: {told.splitlines()[-1]}")
            return Load.from_json(json.load(self._out))

    def stop(self) -> None:
        """Let it answer what is on its way and end."""
        self._process.terminate()

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None


def send(plan: Plan) -> Load:
    """Raises LoadFailed."""
    return Loading(plan).result()


@dataclass(frozen=True)
class Sameness:
    """How far vectors of texts under load are from those of the same texts alone: `apart`, the largest difference of
    a number, and the lowest cosine. Both over `texts` of them.
    """

    texts: int
    apart: float
    cosine: float


def vectors(load: Load) -> dict[int, Rows]:
    """float32 [width] for the place of each text that was kept."""
    kept = {int(place): np.frombuffer(base64.b64decode(vector), "<f4") for place, vector in load.kept.items()}
    return {place: vector.astype(np.float32) for place, vector in kept.items()}


def sampled(count: int, seed: int = 1) -> list[int]:
    """1 % of so many places, at least one, the same ones for the same seed."""
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    return sorted(draw.sample(range(count), max(1, round(count * _KEPT))))


class Kept:
    """Vectors that came under load, by their text."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._seen: list[tuple[str, Rows]] = []

    def __bool__(self) -> bool:
        return bool(self._seen)

    def add(self, texts: Sequence[str], load: Load) -> None:
        """texts: those of the load's plan."""
        self._seen += [(texts[place], vector) for place, vector in vectors(load).items()]

    def compare(self) -> Sameness:
        """Sends each text alone, while nothing else is sent. Raises LoadFailed."""
        texts = list(dict.fromkeys(text for text, _ in self._seen))
        plan = Plan(self._endpoint, texts, per_request=1, connections=1, keep=list(range(len(texts))))
        alone = vectors(send(plan))
        return judge(self._seen, {text: alone[place] for place, text in enumerate(texts)})


def judge(seen: Sequence[tuple[str, Rows]], alone: Mapping[str, Rows]) -> Sameness:
    """Vectors of texts under load beside those of the same texts alone."""
    pairs = [(vector.astype(np.float64), alone[text].astype(np.float64)) for text, vector in seen]
    apart = max(float(np.abs(one - other).max()) for one, other in pairs)
    cosines = [float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) for one, other in pairs]
    return Sameness(len(pairs), apart, min(cosines))
