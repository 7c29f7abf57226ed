"""A tiny model that is made int8 and measured when it is pulled, so that kills fall into that too."""

from __future__ import annotations

from pathlib import Path

from tests.catalog.killing import PullStand
from tests.checkpoints import write_tiny_bert
from tests.goldens_io import tiny_spec


def int8_stand(root: Path) -> PullStand:
    """Everything that a killed `sekisho pull` of it touches lies under `root`.

    Forced: its weights are random, and whether they pass the gate is not what is tried.
    """
    write_tiny_bert(tiny_spec("tiny-bert-mean"), root / "files")
    registry = root / "models.yaml"
    registry.write_text(
        "version: 1\nmodels:\n  - {name: tiny, source: {path: files}, precision: int8, force_precision: true}\n",
        "utf-8",
    )
    return PullStand("pull a tiny model in int8", registry, "tiny", root / "stand")
