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
from typing import Protocol

from sekisho.assemble import open_catalog
from sekisho.catalog.hub import PARTIAL
from sekisho.contract import CONTRACT_FILE, Contract
from sekisho.convert.sealing import sha256_of
from sekisho.settings import Settings

REPOSITORY = Path(__file__).parents[2]

#: sha256 by file name.
Digests = dict[str, str]


class Stand(Protocol):
    """A command to kill, and what it leaves."""

    @property
    def label(self) -> str: ...

    @property
    def environment(self) -> dict[str, str]: ...

    def command(self) -> list[str]: ...

    def clear(self) -> None:
        """As if the command had never run."""

    def made(self) -> Digests | None:
        """Digests of the files that a server would load now; None where it would load nothing yet."""

    def status(self) -> int:
        """Exit status of a command that starts now and is left alone."""

    def phase(self) -> str:
        """How far a command came that was killed."""

    def remains(self) -> list[Path]:
        """What has no business there once a command has ended well."""


@dataclass(frozen=True)
class PullStand:
    """`sekisho pull` of one model of a registry."""

    label: str
    registry: Path
    model: str
    root: Path
    hub: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def hub_cache(self) -> Path:
        return self.root / "hub"

    @property
    def environment(self) -> dict[str, str]:
        # Measuring a prepared model takes longer than to fetch and prepare it, and most kills would hit that.
        return {"SEKISHO_HOME": str(self.home), "HF_HOME": str(self.hub_cache), "SEKISHO_TUNE": "off"} | self.hub

    def command(self) -> list[str]:
        return ["pull", self.model, "--models", str(self.registry)]

    def clear(self) -> None:
        for directory in (self.home, self.hub_cache):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)

    def made(self) -> Digests | None:
        catalog = open_catalog(Settings(models=self.registry, home=self.home, offline=True))
        found = catalog.preparer.find(catalog.registry.find(self.model))
        return None if found is None else dict(Contract.read(found.directory).files)

    def status(self) -> int:
        return 0

    def phase(self) -> str:
        models = [path for path in self.home.glob("models/*/*") if path.is_dir()]
        if any(not path.name.startswith(".") for path in models):
            return "prepared"
        if any((path / CONTRACT_FILE).exists() for path in models):
            return "after converting"
        if models:
            return "converting"
        if [*self.hub_cache.rglob(f"*{PARTIAL}")]:
            return "in the middle of a file"
        if [*self.hub_cache.glob("hub/models--*/snapshots/*/*")]:
            return "between files"
        return "before or verifying"

    def remains(self) -> list[Path]:
        return [
            *(path for path in self.home.glob("models/*/.*") if path.name != ".lock"),
            *self.hub_cache.rglob(f"*{PARTIAL}"),
            *self.hub_cache.rglob("*.sekisho.*"),
        ]


@dataclass(frozen=True)
class ConvertStand:
    """`sekisho convert` of a checkpoint directory."""

    label: str
    checkpoint: Path
    root: Path

    @property
    def target(self) -> Path:
        return self.root / "made"

    @property
    def environment(self) -> dict[str, str]:
        return {"SEKISHO_HOME": str(self.root.with_name("unused-home"))}

    def command(self) -> list[str]:
        return ["convert", str(self.checkpoint), str(self.target)]

    def clear(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)

    def made(self) -> Digests | None:
        """Empty, which no whole one is, where the contract does not vouch for the files."""
        if not self.target.exists():
            return None
        try:
            files = dict(Contract.read(self.target).files)
            there = {path.name for path in self.target.iterdir()} - {CONTRACT_FILE}
            whole = there == files.keys() and all(sha256_of(self.target / name) == files[name] for name in files)
        except (OSError, ValueError):
            return {}
        return files if whole else {}

    def status(self) -> int:
        """A second conversion into the same directory is refused."""
        return int(self.target.exists())

    def phase(self) -> str:
        if self.target.exists():
            return "converted"
        return "converting" if any(self.root.iterdir()) else "before"

    def remains(self) -> list[Path]:
        return [path for path in self.root.iterdir() if path != self.target]


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
        environment = {"PATH": os.environ["PATH"], "SEKISHO_LOG_LEVEL": "error"}
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
            stand.clear()
            for _ in range(chance.choice((1, 1, 2, 3))):
                process = commands.start(stand.command())
                time.sleep(chance.uniform(0, seconds * 1.05))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                if commands.wait() != -signal.SIGKILL:
                    outcome.ended_before += 1
                    break
                outcome.kills += 1
                outcome.phases[stand.phase()] += 1
                outcome.broken += stand.made() not in (None, whole)
            status = stand.status()
            commands.start(stand.command())
            healed = commands.wait() == status
            outcome.unhealed += not healed or stand.made() != whole
            outcome.remains += bool(stand.remains())
    outcome.seconds = time.monotonic() - began
    return outcome


def _undisturbed(stand: Stand, commands: Starter) -> tuple[float, Digests]:
    """How long the command takes, and the digests of what it makes. The first run warms what is warm later."""
    for _ in range(2):
        stand.clear()
        began = time.monotonic()
        commands.start(stand.command())
        status = commands.wait()
        seconds = time.monotonic() - began
    whole = stand.made()
    assert status == 0
    assert whole
    return seconds, whole


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
