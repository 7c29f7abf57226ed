"""Ready-made graphs from the registry to a loaded model: which file a machine gets, and that it gets no other."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog

from sekisho.assemble import assemble
from sekisho.catalog.artifacts import Artifacts
from sekisho.catalog.lockfile import Lock
from sekisho.catalog.prepare import Prepared, Preparer
from sekisho.catalog.registry import Source, Spec
from sekisho.catalog.variants import Processor, choose_graph, choose_variant
from sekisho.contract import DYNAMIC_INT8, Contract, Passage, Rows
from sekisho.errors import ArtifactRefused, ConversionFailed
from sekisho.runtime.load import load_model
from sekisho.runtime.machine import cpu_flags, this_machine
from sekisho.runtime.select import choose
from sekisho.settings import Settings
from tests import exports
from tests.catalog.conftest import REVISION, OpenCatalog, lock_as_it_is
from tests.catalog.hub import Hub, hub
from tests.catalog.test_variants import HASWELL, ICELAKE
from tests.checkpoints import write_tiny_bert
from tests.conftest import REPOSITORY, WriteRegistry
from tests.engines import ONNX_FP32
from tests.exports import Export, write_export
from tests.goldens_io import cosines, golden_texts, run_texts, tiny_spec

MODEL = tiny_spec("tiny-bert-mean")
VARIANTS = {
    "arm64": "onnx/model_qint8_arm64.onnx",
    "avx512_vnni": "onnx/model_qint8_avx512_vnni.onnx",
    "avx512": "onnx/model_qint8_avx512.onnx",
    "avx2": "onnx/model_quint8_avx2.onnx",
}
BLOCK = "    variants: {" + ", ".join(f"{cpu}: {file}" for cpu, file in VARIANTS.items()) + "}\n"
INT8 = BLOCK + "    precision: int8\n"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as sentence-transformers publishes them: weights, a graph with its data, and a variant a CPU."""
    root = write_tiny_bert(MODEL, tmp_path_factory.mktemp("repository"))
    write_export(MODEL, root / "onnx/model.onnx", data="model.onnx_data")
    plain = write_export(MODEL, tmp_path_factory.mktemp("plain") / "model.onnx", Export(opset=14))
    for index, name in enumerate(VARIANTS.values()):
        exports.quantize(plain, root / name)
        with (root / name).open("ab") as file:  # a field that no reader knows, so that no two are the same
            file.write(bytes([0xF2, 0x3E, 1, index]))
    return root


def spec(**values: object) -> Spec:
    return Spec.model_validate({"name": "m", "source": Source(path=Path("x"))} | values)


@pytest.mark.parametrize(
    ("values", "processor", "onnx", "part"),
    [
        ({}, Processor("x86_64", frozenset(ICELAKE)), None, "made from the weights"),
        ({"variants": VARIANTS}, Processor("x86_64", frozenset(ICELAKE)), None, "with `precision: int8`"),
        ({"variants": VARIANTS, "precision": "fp32"}, Processor("aarch64"), None, "with `precision: int8`"),
        ({"onnx": "a.onnx"}, Processor(), "a.onnx", "`onnx`"),
        ({"onnx": "a.onnx", "precision": "int8"}, Processor(), "a.onnx", "`onnx`"),
        ({"onnx": "a.onnx", "variants": VARIANTS}, Processor("aarch64"), "a.onnx", "`onnx`"),
        ({"variants": VARIANTS, "precision": "int8"}, Processor("aarch64"), VARIANTS["arm64"], "variant arm64"),
        (
            {"variants": VARIANTS, "precision": "int8", "onnx": "a.onnx"},
            Processor("x86_64", frozenset(ICELAKE)), VARIANTS["avx512_vnni"], "variant avx512_vnni",
        ),
        (
            {"variants": VARIANTS, "precision": "int8"},
            Processor("x86_64", frozenset(HASWELL)), VARIANTS["avx2"], "variant avx2",
        ),
        ({"variants": VARIANTS, "precision": "int8"}, Processor("riscv64"), None, "fits this CPU: made from"),
        ({"variants": VARIANTS, "precision": "int8", "onnx": "a.onnx"}, Processor(), "a.onnx", "`onnx` stands in"),
        ({"precision": "int8"}, Processor("aarch64"), None, "made from the weights"),
    ],
)  # fmt: skip
def test_what_a_machine_gets(values: dict[str, object], processor: Processor, onnx: str | None, part: str) -> None:
    choice = choose_graph(spec(**values), lambda: processor)
    assert choice.onnx == onnx
    assert part in choice.reason


def test_the_cpu_is_asked_only_where_it_decides() -> None:
    def ask() -> Processor:
        raise AssertionError("the CPU was asked")

    assert choose_graph(spec(variants=VARIANTS), ask).onnx is None
    assert choose_graph(spec(precision="int8", onnx="a.onnx"), ask).onnx == "a.onnx"


@pytest.fixture
def server(repository: Path) -> Iterator[Hub]:
    with hub(repository, REVISION) as running:
        yield running


def sekisho(server: Hub, root: Path, *arguments: str) -> str:
    environment = {
        "HF_ENDPOINT": server.endpoint, "HF_HOME": str(root / "cache"), "SEKISHO_HOME": str(root / "home"),
        "PATH": os.environ["PATH"], "COLUMNS": "200", "SEKISHO_TUNE": "off",
    }  # fmt: skip
    command = [sys.executable, "-m", "sekisho", *arguments, "--models", str(root / "models.yaml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fetched(server: Hub) -> set[str]:
    return {asked.name for asked in server.log if asked.method == "GET" and asked.route != "api"}


SMALL = {"config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "tokenizer.json"}


def test_of_a_hubs_variants_the_lock_pins_all_and_a_machine_fetches_one(server: Hub, tmp_path: Path) -> None:
    variant = choose_variant(VARIANTS, platform.machine(), cpu_flags())
    assert variant is not None, "this machine has none of the CPUs that variants are made for"
    source = f"{{hub: org/ok, revision: {REVISION}}}"
    (tmp_path / "models.yaml").write_text(f"version: 1\nmodels:\n  - name: m\n    source: {source}\n{INT8}")
    sekisho(server, tmp_path, "lock", "m")
    pinned = json.loads((tmp_path / "models.lock").read_text())["models"]["m"]["files"]
    assert set(pinned) == {*SMALL, "model.safetensors", *VARIANTS.values()}
    server.forget()
    sekisho(server, tmp_path, "pull", "m")
    assert {name for name in fetched(server) if not name.endswith(".json")} == {VARIANTS[variant]}
    assert [path.name for path in (tmp_path / "cache").rglob("*.onnx")] == [Path(VARIANTS[variant]).name]
    told = json.loads(sekisho(server, tmp_path, "models", "show", "m", "--json"))
    assert told["graph"] == {
        "value": VARIANTS[variant], "origin": f"precision int8: the variant {variant} is the best for this CPU",
    }  # fmt: skip
    assert told["contract.numbers"] == {"value": DYNAMIC_INT8, "origin": VARIANTS[variant]}


def test_a_graph_comes_with_its_data_and_without_the_weights(server: Hub, tmp_path: Path) -> None:
    source = f"{{hub: org/ok, revision: {REVISION}}}"
    more = "    onnx: onnx/model.onnx\n"
    (tmp_path / "models.yaml").write_text(f"version: 1\nmodels:\n  - name: m\n    source: {source}\n{more}")
    sekisho(server, tmp_path, "lock", "m")
    sekisho(server, tmp_path, "pull", "m")
    assert fetched(server) == {*SMALL, "onnx/model.onnx", "onnx/model.onnx_data"}


ON_ANY = Processor("aarch64")
ON_NONE = Processor("riscv64")


def prepare(root: Path, home: Path, processor: Processor = ON_ANY, **values: object) -> Prepared:
    artifacts = Artifacts(root, offline=True, processor=lambda: processor)
    made = spec(source=Source(path=root), **values)
    return Preparer(home, artifacts, Lock(models={})).prepare(made)


def rows(prepared: Prepared) -> Rows:
    model = load_model(prepared.directory, prepared.contract, ONNX_FP32)
    try:
        return run_texts(model, golden_texts()[:40])[0]
    finally:
        model.close()


def test_a_graph_gives_what_the_weights_give(repository: Path, home: Path) -> None:
    ready, ours = prepare(repository, home, onnx="onnx/model.onnx"), prepare(repository, home)
    assert (ready.contract.graph, ours.contract.graph) == ("onnx/model.onnx", None)
    assert ready.directory != ours.directory
    assert cosines(rows(ready), rows(ours)).min() >= 0.999999


def test_without_asking_nobody_gets_int8(repository: Path, home: Path) -> None:
    assert prepare(repository, home, variants=VARIANTS).contract.numbers == "float"
    asked = prepare(repository, home, variants=VARIANTS, precision="int8")
    assert (asked.contract.numbers, asked.contract.graph) == ("dynamic_int8", VARIANTS["arm64"])


def test_a_vector_of_dynamic_int8_depends_on_its_batch(repository: Path, home: Path) -> None:
    """What the label says is so: the same text alone and beside others."""
    prepared = prepare(repository, home, variants=VARIANTS, precision="int8")
    model = load_model(prepared.directory, prepared.contract, ONNX_FP32)
    tokens = model.encode([Passage(text) for text in golden_texts()[:8]], "end")
    together = model.run(0, tokens)[0]
    alone = np.concatenate([model.run(0, [one])[0] for one in tokens])
    model.close()
    assert not np.allclose(together, alone, atol=1e-6)


def test_each_variant_and_precision_is_a_version_of_its_own(repository: Path, home: Path) -> None:
    values = {"variants": VARIANTS, "precision": "int8"}
    made = {
        prepare(repository, home, Processor("x86_64", frozenset(flags)), **values).contract.graph
        for flags in (HASWELL, ICELAKE)
    }
    assert made == {VARIANTS["avx2"], VARIANTS["avx512_vnni"]}
    assert len([path for path in (home / "models" / "m").iterdir() if path.is_dir()]) == 2
    quantised = VARIANTS["avx2"]
    assert prepare(repository, home, onnx=quantised).contract.numbers == "dynamic_int8"
    with pytest.raises(ConversionFailed, match=r"is quantised, and models\.yaml says `precision: fp32`"):
        prepare(repository, home, onnx=quantised, precision="fp32")


def test_a_repository_without_weights(repository: Path, tmp_path: Path, home: Path) -> None:
    root = tmp_path / "bare"
    shutil.copytree(repository, root, ignore=shutil.ignore_patterns("model.safetensors"))
    assert prepare(root, home, variants=VARIANTS, precision="int8").contract.graph == VARIANTS["arm64"]
    assert prepare(root, home, onnx="onnx/model.onnx").contract.graph == "onnx/model.onnx"
    with pytest.raises(ArtifactRefused, match="`precision: int8` takes its ready-made variants"):
        prepare(root, home, variants=VARIANTS)
    with pytest.raises(
        ArtifactRefused, match=r"none of the variants .* fits this CPU: it does not run on this machine"
    ):
        prepare(root, home, ON_NONE, variants=VARIANTS, precision="int8")


def test_a_lock_from_before_the_graph_was_named(catalog: OpenCatalog, repository: Path) -> None:
    source = f"{{path: {repository}}}"
    lock_as_it_is(catalog(source))
    opened = catalog(source, "    onnx: onnx/model.onnx\n")
    with pytest.raises(
        ArtifactRefused, match=r"onnx/model\.onnx of the model 'm' is not in models\.lock: lock it anew"
    ):
        opened.preparer.prepare(opened.registry.find("m"))


def test_an_interruption_leaves_nothing_and_the_next_one_heals(repository: Path, home: Path) -> None:
    def interrupt(step: str, done: int, size: int) -> None:
        if step == "convert" and done > size / 2:
            raise KeyboardInterrupt

    artifacts = Artifacts(repository, offline=True)
    made = spec(source=Source(path=repository), onnx="onnx/model.onnx")
    with pytest.raises(KeyboardInterrupt):
        Preparer(home, artifacts, Lock(models={})).prepare(made, interrupt)
    assert [path.name for path in (home / "models" / "m").iterdir()] == [".lock"]
    assert Preparer(home, artifacts, Lock(models={})).prepare(made).contract.graph == "onnx/model.onnx"


@pytest.mark.parametrize("mode", [("killed", "16"), ("together", "3"), ("limited", "30000")], ids=lambda mode: mode[0])
def test_killed_met_or_full_it_is_absent_or_complete(
    repository: Path, write_registry: WriteRegistry, home: Path, mode: tuple[str, str]
) -> None:
    block = f"source: {{path: {repository}}}, onnx: onnx/model.onnx"
    path = write_registry(f"version: 1\nmodels:\n  - {{name: m, {block}}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "tests.catalog.preparing", *mode],
        env={"SEKISHO_MODELS": str(path), "SEKISHO_HOME": str(home), "SEKISHO_OFFLINE": "1"},
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    if mode[0] == "killed":
        for moment in told["moments"]:
            assert moment["whole_if_there"], moment
            assert moment["found"] == (told["target"] in moment["left"]), moment
            assert moment["healed"], moment
            assert moment["after"] == [".lock", told["target"]], moment
        assert any(moment["killed"] for moment in told["moments"])
    elif mode[0] == "together":
        assert (told["statuses"], told["converted"], len(told["after"])) == ([0, 0, 0], 1, 2)
    else:
        assert (told["error"], told["left"], len(told["after"])) == ("StorageFull", [".lock"], 2)


def test_a_served_int8_variant_is_said_to_depend_on_its_batch(repository: Path, tmp_path: Path, home: Path) -> None:
    """Through the pool, as a request does: the engine is ONNX Runtime whatever is asked for, and the log warns."""
    (tmp_path / "models.yaml").write_text(
        f"version: 1\nmodels:\n  - name: m\n    source: {{path: {repository}}}\n{INT8}"
    )
    parts = assemble(Settings(models=tmp_path / "models.yaml", home=home, offline=True, engine="openvino"))

    async def load() -> Contract:
        async with parts.pool.use(parts.catalog.registry.find("m")) as engine:
            contract = engine.contract
        await parts.pool.close()
        return contract

    with structlog.testing.capture_logs() as logs:
        contract = asyncio.run(load())
    assert contract.numbers == "dynamic_int8"
    (warning,) = [entry for entry in logs if entry["event"] == "batch_dependent"]
    assert (warning["log_level"], warning["model"], warning["graph"]) == ("warning", "m", contract.graph)
    choice = choose(this_machine(), "openvino", "int8", None, contract)
    assert choice.engine == "onnxruntime"
    assert "in each batch" in choice.reason
