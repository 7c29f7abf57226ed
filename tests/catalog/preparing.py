"""Run as `python -m tests.catalog.preparing MODE …` in a process of its own: preparations that are killed, that meet,
or that find the disk full. Prints one line of JSON.

It forks, which is only safe before any engine or thread is there; so a test's own process cannot.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from sekisho.assemble import Catalog, open_catalog
from sekisho.catalog.prepare import Progress
from sekisho.catalog.registry import Spec
from sekisho.convert import build  # noqa: F401 - what takes a second to import, before the clock runs
from sekisho.errors import SekishoError
from sekisho.settings import Settings


def child(work: Callable[[], int]) -> int:
    """Fork; the child's exit status is what `work` returns."""
    process = os.fork()
    if process == 0:
        status = 99
        with contextlib.suppress(BaseException):
            status = work()
        os._exit(status)
    return process


def prepare(catalog: Catalog, spec: Spec, progress: Progress | None = None) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        catalog.preparer.prepare(spec, progress)
    return 0


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir()) if root.is_dir() else []


def killed(moments: int) -> Any:
    """SIGKILL at moments spread over a whole preparation; what was there then, and what the next one makes of it."""
    catalog, spec, root = opened()
    began = time.monotonic()
    os.waitpid(child(lambda: prepare(catalog, spec)), 0)
    seconds = time.monotonic() - began
    target = catalog.preparer.find(spec)
    assert target is not None
    whole = names(target.directory)
    seen = []
    for moment in range(moments):
        for path in root.iterdir():
            if path.is_dir():
                os.rename(path, root.parent / f"old-{time.monotonic_ns()}")
        process = child(lambda: prepare(catalog, spec))
        time.sleep(seconds * 1.2 * moment / moments)
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        left = names(root)
        found = catalog.preparer.find(spec)
        prepare(catalog, spec)
        again = catalog.preparer.find(spec)
        seen.append(
            {
                "killed": os.WIFSIGNALED(status),
                "left": left,
                "found": found is not None,
                "whole_if_there": target.directory.name not in left or names(target.directory) == whole,
                "healed": again is not None and again.directory == target.directory,
                "after": names(root),
            }
        )
    return {"target": target.directory.name, "moments": seen}


def together(processes: int) -> Any:
    """Several at once, each slow enough to meet the others: how many converted, and what each got."""
    catalog, spec, root = opened()
    log = root.parent / "converted.log"
    root.parent.mkdir(parents=True, exist_ok=True)

    def work() -> int:
        def slow(step: str, done: int, size: int) -> None:
            if step == "convert" and done == size:
                with log.open("a") as file:
                    file.write(f"{os.getpid()}\n")
                time.sleep(0.2)

        prepare(catalog, spec, slow)
        found = catalog.preparer.find(spec)
        return 0 if found is not None else 1

    started = [child(work) for _ in range(processes)]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started]
    return {"statuses": statuses, "converted": len(set(log.read_text().split())), "after": names(root)}


def limited(limit: int) -> Any:
    """No file may grow over `limit` bytes: what a full disk does, where none can be mounted."""
    catalog, spec, root = opened()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    error, message = "", ""
    try:
        prepare(catalog, spec)
    except SekishoError as caught:
        error, message = type(caught).__name__, caught.message
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = names(root)
    prepare(catalog, spec)
    return {"error": error, "message": message, "left": left, "after": names(root)}


def opened() -> tuple[Catalog, Spec, Path]:
    settings = Settings()
    catalog = open_catalog(settings)
    spec = next(iter(catalog.registry))
    return catalog, spec, settings.home / "models" / spec.name


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    modes: dict[str, Callable[[int], Any]] = {"killed": killed, "together": together, "limited": limited}
    print(json.dumps(modes[sys.argv[1]](int(sys.argv[2]))))
