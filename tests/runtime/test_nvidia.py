"""The NVIDIA driver's answers, from a library that is compiled here and answers as the driver does."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from sekisho.runtime.nvidia import Card, Driver, ask_driver

#: https://docs.nvidia.com/cuda/cuda-driver-api : the calls we make, for two cards.
_SOURCE = """
#include <string.h>
#include <stddef.h>
int cuInit(unsigned flags) { return INIT; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 10 + ordinal; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, device == 10 ? "H200" : "T4", size); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = device == 10 ? 150000000000UL : 16000000000UL; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  if (attribute == 75) { *value = device == 10 ? 9 : 7; return 0; }
  if (attribute == 76) { *value = device == 10 ? 0 : 5; return 0; }
  return 1;
}
"""
COMPILER = shutil.which("cc")
NEEDS_A_COMPILER = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def driver(directory: Path, *, init: int = 0, count: int = 2) -> ctypes.CDLL:
    (directory / "driver.c").write_text(_SOURCE)
    library = directory / f"driver-{init}-{count}.so"
    defines = [f"-DINIT={init}", f"-DCOUNT={count}"]
    subprocess.run([str(COMPILER), "-shared", "-fPIC", *defines, "-o", library, directory / "driver.c"], check=True)
    return ctypes.CDLL(str(library))


@NEEDS_A_COMPILER
def test_cards_with_their_names_ages_and_memory(tmp_path: Path) -> None:
    library = driver(tmp_path)
    assert ask_driver(None, lambda name: library) == Driver(
        (Card("H200", (9, 0), 150_000_000_000), Card("T4", (7, 5), 16_000_000_000))
    )


@NEEDS_A_COMPILER
@pytest.mark.parametrize(
    ("init", "count", "visible", "why"),
    [
        (100, 0, None, "shows this process no card (a container needs `--gpus all`)"),
        (100, 0, "7", "shows this process no card (CUDA_VISIBLE_DEVICES is '7')"),
        (0, 0, None, "shows this process no card"),
        (803, 2, None, "does not start (CUDA error 803): see `nvidia-smi`"),
    ],
)
def test_a_driver_without_cards(tmp_path: Path, init: int, count: int, visible: str | None, why: str) -> None:
    library = driver(tmp_path, init=init, count=count)
    found = ask_driver(visible, lambda name: library)
    assert not found.cards
    assert found.problem is not None
    assert why in found.problem


def absent(name: str) -> ctypes.CDLL:
    raise OSError(f"{name}: cannot open shared object file")


@pytest.mark.parametrize("visible", ["", " ", "-1"])
def test_cards_that_are_hidden_are_not_asked_for(visible: str) -> None:
    problem = ask_driver(visible, absent).problem
    assert problem is not None
    assert problem.startswith("CUDA_VISIBLE_DEVICES is ")


def test_no_driver_at_all() -> None:
    problem = ask_driver(None, absent).problem
    assert problem is not None
    assert "there is no NVIDIA driver" in problem
