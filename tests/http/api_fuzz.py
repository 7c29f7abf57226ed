"""Schemathesis against a live server: every operation of the OpenAPI document. `scripts/api-fuzz` runs it.

An answer has to have a documented status, the documented content type and the documented shape, and never be a 5xx.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.environments import python_of
from tests.http.live import serving
from tests.http.wire import write_wire_registry

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


@dataclass
class Found:
    """cases: of each operation how many; statuses: of each operation and status how many; failures: what is wrong."""

    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    ended_well: bool = False


def fuzz(url: str, examples: int, directory: Path, *, seed: int | None = None, only: Iterable[str] = ()) -> Found:
    """`examples`: cases for each operation, beside those that schemathesis makes for each constraint of a schema.

    Raises EnvironmentMissing.
    """
    report = directory / "report.ndjson"
    command = [
        str(python_of("schemathesis").with_name("schemathesis")), "run", f"{url}/openapi.json",
        "--checks", ",".join(CHECKS),
        "--phases", "examples,coverage,fuzzing",
        "--max-examples", str(examples),
        "--continue-on-failure",
        "--warnings", "off",
        "--suppress-health-check", "all",
        "--report", "ndjson",
        "--report-ndjson-path", str(report),
        *(argument for path in only for argument in ("--include-path", path)),
        *(("--seed", str(seed)) if seed is not None else ()),
    ]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    found = _read(report)
    found.ended_well = done.returncode == 0
    if not found.ended_well:
        found.failures.append(done.stdout[-20_000:] + done.stderr[-4_000:])
    return found


def _read(report: Path) -> Found:
    """What schemathesis says of each case that it sent."""
    found = Found()
    with report.open(encoding="utf-8") as events:
        for line in events:
            recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder")
            if recorder is None:
                continue
            for case, interaction in recorder.get("interactions", {}).items():
                found.cases[recorder["label"]] += 1
                status = (interaction["response"] or {}).get("status_code", 0)
                found.statuses[recorder["label"], status] += 1
                found.failures += [
                    f"{recorder['label']}: {check['name']} (answered {status}): {recorder['cases'][case]['value']}"
                    for check in recorder.get("checks", {}).get(case, ())
                    if check["status"] != "success"
                ]
    return found


def _table(found: Found) -> str:
    width = max(map(len, found.cases))
    lines = [f"{'operation':<{width}}   cases   answers"]
    for operation, cases in sorted(found.cases.items(), key=lambda each: -each[1]):
        answers = sorted((status, n) for (label, status), n in found.statuses.items() if label == operation)
        lines.append(f"{operation:<{width}} {cases:>7}   {', '.join(f'{status}: {n}' for status, n in answers)}")
    return "\n".join([*lines, f"{'all':<{width}} {found.cases.total():>7}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="cases for each operation that takes a body")
    parser.add_argument("--seed", type=int, help="what schemathesis draws from; left out: another one each time")
    parser.add_argument("--only", nargs="*", default=[], help="paths; left out: all of them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "home").mkdir()
        registry = write_wire_registry(directory)
        with serving(directory / "home", registry, engine="onnxruntime") as server:
            found = fuzz(server.url, given.cases, directory, seed=given.seed, only=given.only)
    print(_table(found))
    if not found.ended_well or found.failures:
        sys.exit("\n".join(found.failures))


if __name__ == "__main__":
    main()
