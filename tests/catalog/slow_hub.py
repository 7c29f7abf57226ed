"""A stand for kills: a tiny model at a hub that takes its time over each file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sekisho.catalog.artifacts import Artifacts
from sekisho.catalog.lockfile import Lock, LockedModel, lock_path, write_lock
from sekisho.catalog.registry import load_registry
from tests.catalog.conftest import REVISION
from tests.catalog.hub import Act, Hub, hub
from tests.catalog.killing import PullStand
from tests.checkpoints import write_tiny_bert
from tests.goldens_io import tiny_spec


class _Slow(Hub):
    """Half a second for the weights, less for the rest."""

    def act(self, method: str, repository: str, name: str) -> Act:
        return Act(slow=0.03 if name.endswith(".safetensors") else 0.004) if method == "GET" else Act()


@contextmanager
def slow_hub(root: Path) -> Iterator[PullStand]:
    """Everything that a killed `sekisho pull` of it touches lies under `root`."""
    files = write_tiny_bert(tiny_spec("tiny-bert-max"), root / "files")
    registry = root / "models.yaml"
    registry.write_text(
        "version: 1\nmodels:\n"
        f"  - {{name: tiny, source: {{hub: org/ok, revision: {REVISION}}}}}\n"
        "  - {name: local, source: {path: files}}\n",
        "utf-8",
    )
    pins = Artifacts(root, offline=True).measure(load_registry(registry).find("local"))
    write_lock(lock_path(registry), Lock(models={"tiny": LockedModel(revision=REVISION, files=pins)}))
    with hub(files, REVISION, _Slow) as server:
        environment = {"HF_ENDPOINT": server.endpoint}
        yield PullStand("pull a tiny model from a slow hub", registry, "tiny", root / "stand", environment)
