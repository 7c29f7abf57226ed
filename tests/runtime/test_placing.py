"""Which device is taken on machines as they are described here, and what people are told about the others."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from sekisho.errors import InternalError
from sekisho.runtime.accelerators import Accelerators, missing_library, owners
from sekisho.runtime.device import CPU, PROVIDERS, Device, device_named, no_room
from sekisho.runtime.nvidia import Card, Driver
from sekisho.runtime.placing import place, why_not

PASCAL = Card("GTX 1080", (6, 1), 8 << 30)
TURING = Card("T4", (7, 5), 16 << 30)
HOPPER = Card("H200", (9, 0), 141 << 30)
CUDA = Accelerators(("onnxruntime-gpu",), frozenset({"cuda"}), {}, Driver((HOPPER, TURING)), nvidia=True)
BARE = Accelerators()
MAC = Accelerators(providers=frozenset({"coreml"}))
AMD = Accelerators(("onnxruntime-migraphx",), frozenset({"migraphx"}))
#: A machine, and what is said of its NVIDIA card.
WITHOUT_CUDA = [
    (BARE, "there is no NVIDIA driver, and onnxruntime-gpu is not installed: `pip install 'sekisho[gpu]'`"),
    (replace(BARE, nvidia=True), "an NVIDIA driver is here, but onnxruntime-gpu is not installed"),
    (
        Accelerators(("onnxruntime", "onnxruntime-gpu"), nvidia=True),
        "onnxruntime-gpu is installed, and onnxruntime has overwritten its files: `pip uninstall -y onnxruntime`, then "
        "`pip install --force-reinstall --no-deps onnxruntime-gpu`",
    ),
    (Accelerators(("onnxruntime-gpu",)), "onnxruntime-gpu is installed, and another build has overwritten its files"),
    (
        Accelerators(("onnxruntime-gpu",), unloadable={"cuda": "libcublasLt.so.13 is missing"}),
        "its provider does not load: libcublasLt.so.13 is missing. `pip install 'onnxruntime-gpu[cuda,cudnn]'`",
    ),
    (replace(CUDA, driver=Driver(problem="CUDA_VISIBLE_DEVICES is '', which hides")), "CUDA_VISIBLE_DEVICES is ''"),
]


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", None), ("cpu", CPU), ("cuda", Device("cuda")), ("cuda:0", Device("cuda")),
        ("cuda:1", Device("cuda", 1)),
        ("rocm", Device("migraphx")), ("rocm:2", Device("migraphx", 2)), ("migraphx", Device("migraphx")),
        ("coreml", Device("coreml")),
    ],
)  # fmt: skip
def test_names_of_devices(text: str, device: Device | None) -> None:
    assert device_named(text) == device


def test_a_device_is_named_as_it_is_asked_for() -> None:
    for kind, index in product(("cuda", "migraphx"), (0, 3)):
        device = device_named(f"{kind}:{index}")
        assert device is not None
        assert device_named(str(device)) == device
    assert {Device(kind).provider for kind in PROVIDERS} == set(PROVIDERS.values())


@pytest.mark.parametrize(
    ("found", "device", "card"),
    [
        (CUDA, Device("cuda"), HOPPER),
        (replace(CUDA, driver=Driver((PASCAL,))), Device("cuda"), PASCAL),
        (AMD, Device("migraphx"), None),
        (replace(CUDA, providers=frozenset({"cuda", "migraphx"})), Device("cuda"), HOPPER),
        (replace(AMD, providers=frozenset({"migraphx"}), unloadable={"cuda": "x"}), Device("migraphx"), None),
        (BARE, CPU, None),
        (MAC, CPU, None),
    ],
)
def test_the_best_that_can_be_used(found: Accelerators, device: Device, card: Card | None) -> None:
    where = place(None, found)
    assert (where.device, where.card) == (device, card)
    assert where.reason


@pytest.mark.parametrize(("found", "why"), WITHOUT_CUDA)
def test_a_card_that_cannot_be_used_is_passed_over_with_the_reason(found: Accelerators, why: str) -> None:
    where = place(None, found)
    assert where.device == CPU
    assert any(line.startswith(f"cuda: {why}") for line in where.passed_over), where.passed_over


@pytest.mark.parametrize(("found", "why"), WITHOUT_CUDA)
def test_asked_for_by_name_it_is_an_error_that_says_what_to_change(found: Accelerators, why: str) -> None:
    with pytest.raises(InternalError, match="SEKISHO_DEVICE is cuda, which cannot be used here") as caught:
        place(Device("cuda"), found)
    assert why in caught.value.message


def test_cards_are_counted_from_0() -> None:
    assert place(Device("cuda", 1), CUDA).card == TURING
    with pytest.raises(InternalError, match="there are 2 cards, counted from 0"):
        place(Device("cuda", 2), CUDA)


@pytest.mark.parametrize("found", [BARE, CUDA, MAC, AMD])
def test_the_cpu_can_always_be_asked_for(found: Accelerators) -> None:
    assert place(CPU, found).device == CPU
    assert why_not(CPU, found) is None


def test_coreml_is_taken_only_when_asked_for() -> None:
    assert any("SEKISHO_DEVICE=coreml takes it" in line for line in place(None, MAC).passed_over)
    assert place(Device("coreml"), MAC).device == Device("coreml")
    with pytest.raises(InternalError, match="it is a part of macOS"):
        place(Device("coreml"), BARE)


def test_migraphx_has_a_build_of_its_own() -> None:
    with pytest.raises(InternalError, match="`pip install 'onnxruntime-migraphx'`"):
        place(Device("migraphx"), CUDA)


@pytest.mark.parametrize(("card", "halves"), [(PASCAL, False), (TURING, True), (HOPPER, True)])
def test_cards_from_volta_on_multiply_fp16(card: Card, halves: bool) -> None:
    assert place(None, replace(CUDA, driver=Driver((card,)))).halves is halves
    assert not place(None, AMD).halves


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["onnxruntime", "numpy"], ("onnxruntime",)),
        (["onnxruntime_gpu", "onnxruntime"], ("onnxruntime", "onnxruntime-gpu")),
        (["onnxruntime-extensions", "onnxruntime-genai", "OnnxRuntime-MIGraphX"], ("onnxruntime-migraphx",)),
        ([], ()),
    ],
)
def test_distributions_that_own_the_same_folder(names: list[str], found: tuple[str, ...]) -> None:
    assert owners(names) == found


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "libcublasLt.so.13: cannot open shared object file: No such file or directory",
            "libcublasLt.so.13 is missing",
        ),
        ("/opt/x/libmigraphx_c.so.3: cannot open shared object file: No such file", "libmigraphx_c.so.3 is missing"),
        ("/opt/capi/libonnxruntime_providers_cuda.so: undefined symbol: Provider_GetHost", None),
        ("/opt/capi/liba.so: invalid ELF header", "liba.so: invalid ELF header"),
    ],
)
def test_what_the_systems_loader_says(message: str, told: str | None) -> None:
    assert missing_library(message) == told


@pytest.mark.parametrize(
    ("message", "full"),
    [
        (
            "bfc_arena.cc:376 AllocateRawInternal Failed to allocate memory for requested buffer of size 4294967296",
            True,
        ),
        ("CUDA failure 2: out of memory ; GPU=0", True),
        ("CUDA failure 700: an illegal memory access was encountered", False),
        ("Non-zero status code returned while running Gather node", False),
    ],
)
def test_a_full_card_is_told_from_other_errors(message: str, full: bool) -> None:
    assert no_room(message) is full
