"""Kill -9 at random moments of `sekisho pull` and `sekisho convert`, and what the next call makes of what was left.

The driver of `scripts/kill-proof`, and of a short test. As `python -m tests.catalog.killing` it is the other half: a
process with everything imported that forks one command after the other, so that the kills hit work and not imports.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sekisho.assemble import open_catalog
from sekisho.catalog.hub import PARTIAL
from sekisho.contract import Contract
from sekisho.settings import Settings

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Stand:
    """A registry with one model to kill over, and the directories that its commands write to."""

    label: str
    registry: Path
    model: str
    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def hub_cache(self) -> Path:
        return self.root / "hub"

    def command(self) -> list[str]:
        return ["pull", self.model, "--models", str(self.registry)]


@dataclass
class Outcome:
    """Counts over all kills.

    ended_before: commands that were too quick for theirs. phases: what lay on disk when it came.
    """

    label: str
    kills: int = 0
    ended_before: int = 0
    broken: int = 0
    unhealed: int = 0
    remains: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        return not (self.broken or self.unhealed or self.remains)


class Starter:
    """The process that forks commands."""

    def __init__(self, stand: Stand) -> None:
        environment = {
            "PATH": os.environ["PATH"], "SEKISHO_HOME": str(stand.home), "HF_HOME": str(stand.hub_cache),
            "SEKISHO_LOG_LEVEL": "error",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.catalog.killing"], cwd=REPOSITORY, env=environment | stand.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, command: list[str]) -> int:
        """Process id of the command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._read()

    def wait(self) -> int:
        """Exit status of the command; negative for a signal."""
        return self._read()

    def _read(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@contextlib.contextmanager
def starter(stand: Stand) -> Iterator[Starter]:
    one = Starter(stand)
    try:
        yield one
    finally:
        one.close()


def kill(stand: Stand, kills: int, seed: int) -> Outcome:
    """Rounds from nothing, each with one to three kills one after the other, then a call that is left to end."""
    chance, outcome = random.Random(seed), Outcome(stand.label)
    began = time.monotonic()
    with starter(stand) as commands:
        seconds, whole = _undisturbed(stand, commands)
        while outcome.kills < kills:
            _from_nothing(stand)
            for _ in range(chance.choice((1, 1, 2, 3))):
                process = commands.start(stand.command())
                time.sleep(chance.uniform(0, seconds * 1.05))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                if commands.wait() != -signal.SIGKILL:
                    outcome.ended_before += 1
                    break
                outcome.kills += 1
                outcome.phases[_phase(stand)] += 1
                outcome.broken += _served(stand) not in (None, whole)
            commands.start(stand.command())
            healed = commands.wait() == 0
            outcome.unhealed += not healed or _served(stand) != whole
            outcome.remains += bool(_remains(stand))
    outcome.seconds = time.monotonic() - began
    return outcome


def _undisturbed(stand: Stand, commands: Starter) -> tuple[float, dict[str, str]]:
    """How long the command takes, and the digests of what it makes. The first run warms what is warm later."""
    for _ in range(2):
        _from_nothing(stand)
        began = time.monotonic()
        commands.start(stand.command())
        status = commands.wait()
        seconds = time.monotonic() - began
    whole = _served(stand)
    assert status == 0
    assert whole is not None
    return seconds, whole


def _served(stand: Stand) -> dict[str, str] | None:
    """Digests of the files that a server would load now; None where it would load nothing yet."""
    catalog = open_catalog(Settings(models=stand.registry, home=stand.home, offline=True))
    found = catalog.preparer.find(catalog.registry.find(stand.model))
    return None if found is None else dict(Contract.read(found.directory).files)


def _phase(stand: Stand) -> str:
    models = [path for path in stand.home.glob("models/*/*") if path.is_dir()]
    if any(not path.name.startswith(".") for path in models):
        return "prepared"
    if models:
        return "converting"
    if [*stand.hub_cache.rglob(f"*{PARTIAL}")]:
        return "in the middle of a file"
    if [*stand.hub_cache.glob("hub/models--*/snapshots/*/*")]:
        return "between files"
    return "before or verifying"


def _remains(stand: Stand) -> list[Path]:
    return [
        *(path for path in stand.home.glob("models/*/.*") if path.name != ".lock"),
        *stand.hub_cache.rglob(f"*{PARTIAL}"),
        *stand.hub_cache.rglob("*.sekisho.*"),
    ]


def _from_nothing(stand: Stand) -> None:
    for directory in (stand.home, stand.hub_cache):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)


def _serve_commands() -> None:
    """One command a line: its process id at once, its exit status when it has ended."""
    import huggingface_hub.file_download
    import huggingface_hub.hf_api  # noqa: F401

    from sekisho.cli import main
    from sekisho.convert import build  # noqa: F401

    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nowhere, descriptor)
            sys.argv = ["sekisho", *json.loads(line)]
            status = 0
            try:
                main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            except BaseException:
                status = 99
            os._exit(status)
        print(process, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve_commands()
