"""What there is beside the CPU on this very machine, and a provider whose own libraries are missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from sekisho.runtime.accelerators import _why_not_loaded, find_accelerators
from sekisho.runtime.device import Device

COMPILER = shutil.which("cc")


def test_this_machine() -> None:
    found = find_accelerators()
    assert found.distributions
    assert {Device(kind).provider for kind in found.providers} <= set(onnxruntime.get_available_providers())
    assert not found.providers & found.unloadable.keys()
    assert bool(found.cards) <= ("cuda" in found.providers)
    assert find_accelerators() is found


def test_where_no_provider_is_installed_no_engine_is_imported() -> None:
    """A command that lists models starts in a tenth of the time."""
    if find_accelerators().providers or find_accelerators().unloadable or sys.platform == "darwin":
        pytest.skip("a provider is here")
    program = "import sys; from sekisho.assemble import placement; print(placement('auto').device, 'onnxruntime' in "
    program += "sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "False"]


@pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="no C compiler, or another kind of library")
def test_the_library_that_a_provider_lacks_is_named(tmp_path: Path) -> None:
    def build(name: str, source: str, *arguments: str) -> Path:
        (tmp_path / f"{name}.c").write_text(source)
        library = tmp_path / f"lib{name}.so"
        files = str(library), str(tmp_path / f"{name}.c")
        command = [str(COMPILER), "-shared", "-fPIC", "-o", *files, *arguments]
        subprocess.run(command, check=True)
        return library

    needed = build("cublas_of_this_test", "int multiply(void) { return 1; }")
    linked = (f"-L{tmp_path}", "-lcublas_of_this_test")
    provider = build("provider", "int multiply(void); int run(void) { return multiply(); }", *linked)
    needed.unlink()
    assert _why_not_loaded(provider, preload=False) == "libcublas_of_this_test.so is missing"
    # What only ONNX Runtime brings is no fault.
    waiting = build("waiting", "int Provider_GetHost(void); int run(void) { return Provider_GetHost(); }", "-Wl,-z,now")
    assert _why_not_loaded(waiting, preload=False) is None
    whole = build("whole", "int run(void) { return 1; }")
    assert _why_not_loaded(whole, preload=False) is None
