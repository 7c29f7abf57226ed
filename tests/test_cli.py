"""The commands: what they print, what they leave on disk, and how they end.

Most run in this process, through the real entry point; what concerns a process of its own runs as one.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import structlog

import sekisho
from sekisho.cli import main
from sekisho.cli.console import Failed
from sekisho.contract import CONTRACT_FILE, Contract
from sekisho.runtime.load import load_model
from sekisho.runtime.machine import has_vnni, this_machine
from sekisho.settings import Settings
from tests.checkpoints import write_tiny_bert
from tests.checkpoints_int8 import write_outliers
from tests.conftest import REPOSITORY, WriteRegistry
from tests.engines import ONNX_FP32
from tests.goldens_io import MINILM, cosines, golden_texts, load_golden, run_texts, tiny_spec

COMMANDS = ("serve", "models", "pull", "verify", "lock", "cache", "convert", "embed", "selfcheck", "doctor", "bench")

CATALOGUE = REPOSITORY / "models.yaml"
NEEDS_OPENVINO = pytest.mark.skipif(this_machine().openvino is None, reason="int8 runs on OpenVINO")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def problem(self) -> str:
        """The one line that a failure tells; anything more is a finding."""
        assert self.status != 0
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        assert "Traceback" not in self.err
        return self.err.rstrip()


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    # Logs go to a process's stderr for good; this process has other tests to run.
    monkeypatch.setattr("sekisho.cli.options.configure_logging", lambda settings: None)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(io.StringIO()))
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: object, stdin: str | bytes = "") -> Ended:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "argv", ["sekisho", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    yield command
    structlog.reset_defaults()


def alone(*arguments: object, stdin: str = "", **environment: str) -> Ended:
    """In a process of its own, through the installed console script."""
    kept = {name: os.environ[name] for name in ("PATH", "SEKISHO_HOME", "SEKISHO_TUNE", "HF_HOME", "HF_ENDPOINT")}
    done = subprocess.run(
        [Path(sys.executable).with_name("sekisho"), *map(str, arguments)],
        input=stdin, env=kept | environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def registry(tmp_path: Path, write_registry: WriteRegistry) -> Path:
    """Two models whose checkpoints lie beside it, one that cannot be converted, and one without a pin."""
    for name in ("tiny-bert-max", "tiny-bert-mean"):
        write_tiny_bert(tiny_spec(name), tmp_path / name)
    shutil.copytree(tmp_path / "tiny-bert-max", tmp_path / "broken")
    (tmp_path / "broken" / "config.json").write_text("{}")
    return write_registry(
        """\
version: 1
defaults: {embedding: small}
aliases: {text-embedding-3-small: small}
models:
  - {name: small, aliases: [org/Small], source: {path: tiny-bert-max}, languages: [en, ja], license: mit}
  - name: prompted
    source: {path: tiny-bert-mean}
    dimensions: 40
    matryoshka: [20]
    prompts: {query: "検索クエリ: ", document: "検索文書: "}
"""
    )


@pytest.fixture
def wide(registry: Path) -> Path:
    """The same, with the two that fail."""
    more = "  - {name: broken, source: {path: broken}}\n  - {name: unpinned, source: {hub: org/unpinned}}\n"
    registry.write_text(registry.read_text("utf-8") + more, "utf-8")
    return registry


def vectors(ended: Ended) -> tuple[list[str], np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    assert ended.status == 0, ended.err
    lines = [json.loads(line) for line in ended.out.removesuffix("\n").split("\n")]
    return [line["text"] for line in lines], np.array([line["embedding"] for line in lines], np.float32)


def test_without_a_command_it_shows_its_commands(run: Run) -> None:
    shown = run()
    assert all(command in shown.out + shown.err for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    assert f" {command} " in run("--help").out
    helped = run(command, "--help")
    assert helped.status == 0
    assert "Usage: sekisho" in helped.out
    assert "--help" in helped.out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["pull", "--nonsense"],
        ["serve", "--port", "http"],
        ["serve", "--port", "99999"],
        ["serve", "--engine", "magic"],
        ["serve", "--log-level", "loud"],
        ["convert", "only-one"],
        ["convert", "a", "b", "--max-tokens", "1"],
        ["embed", "--file", "absent.txt"],
        ["models", "show"],
    ],
)
def test_wrong_use_ends_with_2(run: Run, arguments: list[str]) -> None:
    ended = run(*arguments)
    assert ended.status == 2
    assert ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("SEKISHO_PORT", "http", "PORT"), ("SEKISHO_ENGINE", "magic", "ENGINE"), ("PORT", "-1", "PORT")],
)
def test_a_wrong_setting_is_named_in_one_line(
    run: Run, registry: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, shown: str
) -> None:
    monkeypatch.setenv(name, value)
    ended = run("models", "--models", registry)
    assert ended.status == 2
    assert shown in ended.problem
    assert value in ended.problem


def test_the_version(run: Run) -> None:
    assert run("--version").out == f"sekisho {sekisho.__version__}\n"


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "sekisho", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == alone("--version").out


def test_a_wrong_registry_is_told_by_line(run: Run, registry: Path) -> None:
    registry.write_text(registry.read_text("utf-8").replace("dimensions:", "dimension:"))
    for command in (["models"], ["pull", "--all"], ["doctor"], ["embed", "a"], ["serve"]):
        ended = run(*command, "--models", registry)
        assert ended.status == 1
        assert f"{registry}:8: models[1].dimension" in ended.problem
        assert "did you mean 'dimensions'?" in ended.problem


def test_an_absent_registry(run: Run, tmp_path: Path) -> None:
    assert "No such file" in run("models", "--models", tmp_path / "absent.yaml").problem


def test_a_wrong_lock_says_how_to_write_it_anew(run: Run, registry: Path) -> None:
    registry.with_suffix(".lock").write_text("{")
    assert "`sekisho lock` writes this file anew" in run("models", "--models", registry).problem


@pytest.mark.parametrize("arguments", [["models"], ["models", "list"]])
def test_models_are_listed(run: Run, wide: Path, arguments: list[str]) -> None:
    listed = run(*arguments, "--models", wide, "--json").json
    assert [row["name"] for row in listed] == ["small", "prompted", "broken", "unpinned"]
    assert listed[0] == {
        "name": "small", "kind": "embedding", "parameters": None, "dimensions": None, "matryoshka": [],
        "max_tokens": None, "languages": ["en", "ja"], "license": "mit", "state": "not prepared", "pinned": True,
        "revision": None, "default": True, "aliases": ["org/Small", "text-embedding-3-small"],
    }  # fmt: skip
    assert (listed[3]["state"], listed[3]["pinned"]) == ("unpinned", False)
    table = run(*arguments, "--models", wide).out
    assert all(row["name"] in table for row in listed)


def test_the_registry_of_the_working_directory_is_the_default(
    run: Run, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(registry.parent)
    assert [row["name"] for row in run("models", "--json").json] == ["small", "prompted"]
    monkeypatch.setenv("SEKISHO_MODELS", str(REPOSITORY / "models.yaml"))
    assert run("models", "--json").json[0]["name"] == MINILM


def test_the_catalogue_fits_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    table = run("models", "--models", CATALOGUE).out
    lines = table.splitlines()
    assert max(map(len, lines)) <= 100
    assert "…" not in table
    assert lines[0].split() == "name kind size dims context languages licence state pinned".split()
    rows = {line.split()[0]: line.split() for line in lines[2:]}
    assert {row["name"] for row in run("models", "--models", CATALOGUE, "--json").json} <= rows.keys()
    assert rows["ruri-v3-310m"] == "ruri-v3-310m embedding 315M 768 8192 ja apache-2.0 unpinned no".split()
    assert rows["cohere-rerank-multilingual"][-1] == "upstream"


def test_a_model_of_the_catalogue_is_explained(run: Run) -> None:
    shown = run("models", "show", "ruri-v3-310m", "--models", CATALOGUE, "--json").json
    assert shown["source.revision"]["origin"] == "models.yaml"
    assert shown["prompts.query"] == {"value": "検索クエリ: ", "origin": "models.yaml"}
    assert shown["prompts.sts"]["value"] == ""
    assert shown["token_ids"]["origin"] == "default"
    assert shown["family"] == {"value": None, "origin": "the checkpoint, read when it is prepared"}
    assert "sekisho lock ruri-v3-310m" in shown["files"]["origin"]
    assert shown["files"]["value"] == "not pinned"
    assert shown["keep_alive"] == {"value": "15m", "origin": "default"}
    assert shown["also called"]["value"] == ["cl-nagoya/ruri-v3-310m"]
    table = run("models", "show", "ruri-v3-310m", "--models", CATALOGUE).out
    lines = {line.split("│")[1].strip(): line for line in table.splitlines() if line.startswith("│")}
    assert '"検索クエリ: "' in lines["prompts.query"]
    assert '""' in lines["prompts.sts"]
    assert "314,611,968" in lines["parameters"]
    assert "true" in lines["truncate"]
    assert "not known yet" in lines["family"]
    assert all(line.split("│")[2].strip() and line.split("│")[3].strip() for line in lines.values())
    elsewhere = run("models", "show", "cohere-rerank-multilingual", "--models", CATALOGUE, "--json").json
    assert elsewhere["upstream.api"]["value"] == "cohere"
    assert elsewhere["state"]["value"] == "upstream"
    assert not [key for key in elsewhere if key.startswith("source")]


def test_a_model_of_another_service_has_nothing_to_pull(run: Run) -> None:
    assert "runs at another service" in run("pull", "cohere-rerank-multilingual", "--models", CATALOGUE).problem


def test_selfcheck_compares_with_what_was_published(
    run: Run, minilm_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEKISHO_HOME", str(minilm_home))
    ended = run("selfcheck", MINILM, "--precision", "fp32", "--models", CATALOGUE)
    assert ended.status == 0, ended.err
    assert f"{MINILM}: reproduced (fp32, onnxruntime)" in ended.out
    assert "st-readme" in ended.out
    (told,) = run("selfcheck", MINILM, "--models", CATALOGUE, "--json").json
    assert told["model"] == MINILM
    assert told["status"] in {"reproduced", "near"}
    assert {result["status"] for result in told["results"]} <= {"reproduced", "near", "not run"}


def test_selfcheck_of_what_is_not_here_says_what_to_do(run: Run) -> None:
    ended = run("selfcheck", "ruri-v3-30m", "--models", CATALOGUE)
    assert ended.status == 1
    assert "ruri-v3-30m: unavailable: " in ended.out
    assert "`sekisho lock ruri-v3-30m`" in ended.out
    unpublished = run("selfcheck", "ruri-small-v2", "--models", CATALOGUE)
    assert (unpublished.status, "ruri-small-v2: unpublished" in unpublished.out) == (0, True)
    assert "--all" in run("selfcheck", "--models", CATALOGUE).problem
    assert run("selfcheck", "--precision", "fp8", "--models", CATALOGUE).status == 2


@pytest.mark.parametrize("name", ["small", "org/Small", "text-embedding-3-small", "SMALL"])
def test_a_model_is_shown_by_any_of_its_names(run: Run, registry: Path, name: str) -> None:
    shown = run("models", "show", name, "--models", registry, "--json").json
    assert shown["name"] == {"value": "small", "origin": "models.yaml"}
    assert shown["truncate"] == {"value": True, "origin": "default"}
    assert shown["state"]["value"] == "not prepared"
    assert "contract.width" not in shown


def test_a_prepared_model_shows_where_its_values_come_from(run: Run, registry: Path) -> None:
    assert run("pull", "small", "--models", registry).status == 0
    shown = run("models", "show", "small", "--models", registry, "--json").json
    assert shown["state"]["value"] == "prepared"
    assert shown["contract.width"]["value"] == 24
    assert shown["contract.pooling"] == {"value": "max", "origin": "1_Pooling/config.json"}
    assert shown["contract.max_tokens"] == {"value": 64, "origin": "sentence_bert_config.json"}
    table = run("models", "show", "small", "--models", registry).out
    assert "1_Pooling/config.json" in table
    assert run("models", "--models", registry, "--json").json[0]["state"] == "prepared"


@pytest.mark.parametrize(
    "command", [["models", "show"], ["pull"], ["verify"], ["lock"], ["embed", "text", "--model"]], ids=" ".join
)
def test_an_unknown_model_ends_with_1_and_a_suggestion(run: Run, registry: Path, command: list[str]) -> None:
    ended = run(*command, "smal", "--models", registry)
    assert ended.status == 1
    assert "'smal' does not exist. Did you mean 'small'" in ended.problem


def test_pulling_makes_ready(run: Run, registry: Path, home: Path) -> None:
    (told,) = run("pull", "small", "--models", registry, "--json").json
    assert (told["model"], told["ok"]) == ("small", True)
    assert "small: ready" in run("pull", "small", "--models", registry).out
    (prepared,) = (path.parent for path in home.rglob(CONTRACT_FILE))
    rows = run_texts(load_model(prepared, Contract.read(prepared), ONNX_FP32), golden_texts()[:20])[0]
    np.testing.assert_allclose(rows, load_golden("tiny-bert-max").vectors[:20], atol=2e-5)


def test_pulling_all_goes_on_after_a_failure_and_ends_with_1(run: Run, wide: Path) -> None:
    ended = run("pull", "--all", "--models", wide, "--json")
    assert ended.status == 1
    told = {result["model"]: result for result in ended.json}
    assert {name: result["ok"] for name, result in told.items()} == {
        "small": True, "prompted": True, "broken": False, "unpinned": None
    }  # fmt: skip
    assert "model_type" in told["broken"]["error"]
    assert "`sekisho lock unpinned`" in told["unpinned"]["skipped"]
    states = {row["name"]: row["state"] for row in run("models", "--models", wide, "--json").json}
    assert states == {"small": "prepared", "prompted": "prepared", "broken": "not prepared", "unpinned": "unpinned"}


def test_pulling_a_failing_model_tells_it_in_one_line(run: Run, wide: Path) -> None:
    assert run("pull", "broken", "--models", wide).problem.startswith("broken: config.json has no model_type")


def test_pulling_nothing_lists_what_there_is(run: Run, registry: Path) -> None:
    ended = run("pull", "--models", registry)
    assert ended.status == 1
    assert "--all" in ended.problem
    assert "small, prompted" in ended.problem


def test_pulling_tells_a_script_nothing_but_json(registry: Path) -> None:
    """In a process of its own, where logs are on."""
    ended = alone("pull", "small", "--json", "--models", registry, SEKISHO_LOG_LEVEL="debug")
    assert ended.json[0]["ok"] is True
    assert "prepared" in ended.err


def test_locking_pins_what_a_directory_holds_now(run: Run, registry: Path) -> None:
    assert "locked small: 6 files" in run("lock", "small", "--models", registry).out
    lock = json.loads(registry.with_suffix(".lock").read_text("utf-8"))
    assert list(lock["models"]) == ["small"]
    assert lock["models"]["small"]["files"]["model.safetensors"]["size"] == (
        registry.parent / "tiny-bert-max" / "model.safetensors"
    ).stat().st_size  # fmt: skip
    assert run("lock", "--models", registry).status == 0
    assert list(json.loads(registry.with_suffix(".lock").read_text("utf-8"))["models"]) == ["prompted", "small"]


def test_what_was_changed_after_locking_is_refused(run: Run, registry: Path) -> None:
    run("lock", "small", "--models", registry)
    weights = registry.parent / "tiny-bert-max" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    for command in (["verify", "small"], ["pull", "small"], ["embed", "text"]):
        ended = run(*command, "--models", registry)
        assert ended.status == 1
        assert "model.safetensors of the model 'small' was refused" in ended.problem
        assert "path tiny-bert-max" in ended.problem
    assert run("lock", "small", "--models", registry).status == 0
    assert run("pull", "small", "--models", registry).status == 0


def test_locking_without_a_revision_says_what_is_missing(run: Run, wide: Path) -> None:
    assert "'unpinned' names no revision" in run("lock", "unpinned", "--models", wide).problem
    assert not wide.with_suffix(".lock").exists()


def test_locking_drops_models_that_are_gone(run: Run, registry: Path) -> None:
    run("lock", "--models", registry)
    text = registry.read_text("utf-8")
    registry.write_text(text[: text.index("  - name: prompted")], "utf-8")
    run("lock", "small", "--models", registry)
    assert list(json.loads(registry.with_suffix(".lock").read_text("utf-8"))["models"]) == ["small"]


def test_verifying_hashes_the_files_and_what_was_prepared(run: Run, registry: Path, home: Path) -> None:
    (told,) = run("verify", "small", "--models", registry, "--json").json
    assert (told["ok"], told["files"]) == (True, 6)
    assert told["prepared"].startswith("not prepared")
    run("pull", "small", "--models", registry)
    assert run("verify", "small", "--models", registry, "--json").json[0]["prepared"] == "whole"
    graph = next(home.rglob("model.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1])
    assert "damaged" in run("verify", "small", "--models", registry, "--json").json[0]["prepared"]


def test_verifying_a_damaged_mirror_names_the_file(run: Run, registry: Path) -> None:
    shutil.copytree(registry.parent / "tiny-bert-max", registry.parent / "mirror")
    run("lock", "small", "--models", registry)
    text = registry.read_text("utf-8").replace("{path: tiny-bert-max}", "{path: gone, mirrors: [{path: mirror}]}")
    registry.write_text(text, "utf-8")
    assert run("verify", "small", "--models", registry).status == 0
    (registry.parent / "mirror" / "tokenizer.json").write_text("{}")
    ended = run("verify", "small", "--models", registry)
    assert ended.status == 1
    assert ended.problem.startswith("small: tokenizer.json of the model 'small' was refused: path mirror: 2 bytes")


def test_verifying_all_names_each(run: Run, wide: Path) -> None:
    ended = run("verify", "--models", wide, "--json")
    assert ended.status == 0
    assert {result["model"]: result["ok"] for result in ended.json} == {
        "small": True, "prompted": True, "broken": True, "unpinned": None
    }  # fmt: skip
    assert "not pinned" in run("verify", "unpinned", "--models", wide).problem


def test_converting_a_directory(run: Run, registry: Path, tmp_path: Path) -> None:
    source, target = registry.parent / "tiny-bert-mean", tmp_path / "[/bold] made"
    ended = run("convert", source, target)
    assert ended.status == 0, ended.err
    assert f"bert, 99,176 parameters, 40 dimensions → {target}\n" == ended.out
    rows = run_texts(load_model(target, Contract.read(target), ONNX_FP32), golden_texts()[:20])[0]
    np.testing.assert_allclose(rows, load_golden("tiny-bert-mean").vectors[:20], atol=2e-5)


def test_converting_with_choices(run: Run, registry: Path, tmp_path: Path) -> None:
    source = registry.parent / "tiny-bert-mean"
    told = run(
        "convert", source, tmp_path / "made", "--pooling", "cls", "--no-normalize", "--max-tokens", 99, "--json"
    ).json
    assert (told["pooling"], told["normalized"], told["max_tokens"], told["outputs"]) == (
        "cls",
        False,
        99,
        ["embedding"],
    )
    assert Contract.read(tmp_path / "made").pooling == "cls"


@NEEDS_OPENVINO
def test_converting_to_int8_prints_figures_and_refuses(run: Run, tmp_path: Path) -> None:
    source, target = write_outliers(tmp_path / "outliers"), tmp_path / "made"
    refused = run("convert", source, target, "--precision", "int8")
    assert refused.status == 1
    assert re.search(r"'outliers' too much against fp32: mean cosine 0\.\d{4} \(needs 0\.998\)", refused.problem)
    assert "`--force`" in refused.problem
    assert [path.name for path in tmp_path.iterdir()] == ["outliers"]
    forced = run("convert", source, target, "--precision", "int8", "--force")
    assert forced.status == 0, forced.err
    assert re.search(r"over 304 texts: mean cosine 0\.\d{4}, .*; below the gate, and forced\n$", forced.out)
    made = Contract.read(target)
    assert (made.numbers, made.origins["numbers"]) == ("int8", "the command line")
    assert made.quality is not None
    assert made.quality.forced
    assert set(made.files) == {path.name for path in target.iterdir()} - {"contract.json"}
    assert run("convert", source, tmp_path / "other", "--precision", "bf16").status == 2


@NEEDS_OPENVINO
def test_an_int8_model_is_shown_and_diagnosed(run: Run, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = registry.read_text().replace("license: mit}", "license: mit, precision: int8, force_precision: true}")
    registry.write_text(text)
    before = run("doctor", "--models", registry, "--json").json["models"][0]
    assert (before["state"], before["engine"], before["precision"]) == ("not prepared", "openvino", "int8")
    assert run("pull", "small", "--models", registry).status == 0
    shown = run("models", "show", "small", "--models", registry, "--json").json
    assert shown["contract.numbers"] == {"value": "int8", "origin": "models.yaml"}
    assert shown["contract.quality.texts"]["value"] == 304
    assert 0.9 < shown["contract.quality.cosine_mean"]["value"] < 1
    assert "int8" in run("models", "show", "small", "--models", registry).out
    after = run("doctor", "--models", registry, "--json").json["models"][0]
    assert (after["state"], after["engine"], after["precision"]) == ("prepared", "openvino", "int8")
    monkeypatch.setenv("SEKISHO_ENGINE", "onnxruntime")
    told = run("doctor", "--models", registry, "--json").json["models"][0]
    numbers, why = ("int8", "calibrated products") if has_vnni(this_machine()) else ("fp32", "rounded weights")
    assert (told["engine"], told["precision"]) == ("onnxruntime", numbers)
    assert why in told["why"]


@NEEDS_OPENVINO
def test_selfcheck_in_int8_has_the_tolerances_of_int8(run: Run) -> None:
    (told,) = run("selfcheck", MINILM, "--precision", "int8", "--models", CATALOGUE, "--json").json
    assert told["engine"] == "int8, openvino"
    assert told["status"] in {"reproduced", "near"}
    assert max(result["limit"] or 0 for result in told["results"]) == 0.05, "those of bfloat16 are narrower"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["absent", "made"], "is no directory"),
        (["tiny-bert-mean", "tiny-bert-max"], "exists already"),
        (["tiny-bert-mean", "made", "--pooling", "average"], "'average'"),
        (["tiny-bert-mean", "made", "--max-tokens", "513"], "512 positions"),
        (["tiny-bert-mean", "made", "--family", "gpt"], "'gpt'"),
        (["broken", "made"], "model_type"),
        (["tiny-bert-mean", "models.yaml/made"], "models.yaml"),
    ],
)
def test_what_cannot_be_converted_is_told_in_one_line(
    run: Run, registry: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], part: str
) -> None:
    monkeypatch.chdir(registry.parent)
    before = sorted(path.name for path in registry.parent.iterdir())
    ended = run("convert", *arguments)
    assert ended.status == 1
    assert part in ended.problem
    assert sorted(path.name for path in registry.parent.iterdir()) == before


def test_embedding_arguments(run: Run, registry: Path) -> None:
    texts = golden_texts()[10:14]
    given, rows = vectors(run("embed", "--models", registry, "--", *texts))
    assert given == texts
    assert cosines(rows, load_golden("tiny-bert-max").vectors[10:14]).min() > 0.999


def test_embedding_lines(run: Run, registry: Path, tmp_path: Path) -> None:
    """A line is what ends with a newline: a form feed or U+2028 inside a text is part of it."""
    texts = ["first", "a\x0cb", "a\u2028b", "", "日本語", "last\x85"]
    for end in ("", "\n"):
        assert vectors(run("embed", "--models", registry, stdin="\n".join(texts) + end))[0] == texts
    (tmp_path / "texts").write_text("\n".join(texts) + "\n", "utf-8")
    assert vectors(run("embed", "--models", registry, "--file", tmp_path / "texts"))[0] == texts


def test_embedding_with_a_prompt_and_fewer_dimensions(run: Run, registry: Path) -> None:
    command = ["embed", "--models", registry, "--model", "prompted"]
    _, plain = vectors(run(*command, "天気"))
    _, written = vectors(run(*command, "検索クエリ: 天気"))
    _, query = vectors(run(*command, "--input-type", "query", "天気"))
    _, cut = vectors(run(*command, "--dimensions", 20, "天気"))
    assert plain.shape == (1, 40)
    np.testing.assert_allclose(query, written, atol=1e-6)
    assert cosines(query, plain)[0] < 0.999
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), 1, atol=1e-3)
    assert cosines(cut, plain[:, :20])[0] > 0.9999


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--model", "prompted", "--dimensions", "30", "a"], "20, 40 dimensions, not 30"),
        (["--model", "prompted", "--input-type", "poem", "a"], "'poem'"),
        (["--model", "broken", "a"], "model_type"),
        (["--model", "unpinned", "a"], "`sekisho lock unpinned`"),
    ],
)
def test_what_cannot_be_embedded_is_told_in_one_line(run: Run, wide: Path, arguments: list[str], part: str) -> None:
    ended = run("embed", "--models", wide, *arguments)
    assert ended.status == 1
    assert part in ended.problem
    assert ended.out == ""


def test_embedding_nothing_says_how_to_give_texts(run: Run, registry: Path) -> None:
    assert "no texts" in run("embed", "--models", registry).problem


def test_embedding_what_is_not_utf8(run: Run, registry: Path) -> None:
    assert "not UTF-8: byte 3 is 0xff" in run("embed", "--models", registry, stdin=b"abc\xff").problem


def test_embedding_the_default_model_in_a_process_of_its_own(minilm_home: Path) -> None:
    """The installed command, the shipped registry, a prepared cache: vectors on stdout and nothing else."""
    texts = golden_texts()[20:23]
    ended = alone("embed", *texts, SEKISHO_HOME=str(minilm_home), SEKISHO_MODELS=str(REPOSITORY / "models.yaml"))
    given, rows = vectors(ended)
    assert given == texts
    assert cosines(rows, load_golden(MINILM).vectors[20:23]).min() > 0.9999


def test_a_closed_pipe_is_no_crash(registry: Path) -> None:
    """`sekisho embed … | head -1`"""
    command = [str(Path(sys.executable).with_name("sekisho")), "embed", "--models", str(registry)]
    environment = {name: os.environ[name] for name in ("PATH", "SEKISHO_HOME", "SEKISHO_TUNE")}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"text\n" * 500)
        process.stdin.close()
        errors = process.stderr.read().decode()
    assert "Traceback" not in errors
    assert process.returncode != 0


def test_the_doctor_tells_machine_and_models(run: Run, wide: Path, home: Path) -> None:
    told = run("doctor", "--models", wide, "--json").json
    machine = told["machine"]
    assert machine["registry"] == str(wide)
    assert str(home) in machine["cache"]
    assert machine["ONNX Runtime"][0].isdigit()
    assert [model["model"] for model in told["models"]] == ["small", "prompted", "broken", "unpinned"]
    assert told["models"][3]["state"] == "unpinned"
    assert {model["engine"] for model in told["models"]} <= {"onnxruntime", "openvino"}
    assert all(model["why"] for model in told["models"])
    assert "small" in run("doctor", "--models", wide).out


def test_the_doctor_follows_the_settings(run: Run, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEKISHO_ENGINE", "onnxruntime")
    monkeypatch.setenv("SEKISHO_THREADS", "3")
    monkeypatch.setenv("SEKISHO_OFFLINE", "1")
    told = run("doctor", "--models", registry, "--json").json
    assert {(model["engine"], model["precision"], model["threads"]) for model in told["models"]} == {
        ("onnxruntime", "fp32", "3 × 1")
    }
    assert "offline" in told["machine"]["network"]


def test_a_home_that_cannot_be_written(
    run: Run, registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SEKISHO_HOME", str(tmp_path / "file" / "home"))
    assert "set SEKISHO_HOME" in run("pull", "small", "--models", registry).problem
    assert run("doctor", "--models", registry, "--json").status == 0


def test_serving_on_a_port_in_use_is_told_in_one_line(run: Run, registry: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("serve", "--port", port, "--models", registry)
    assert ended.status == 1
    assert f"port {port} on 127.0.0.1 is in use" in ended.problem
    assert "PORT" in ended.problem


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.invalid"])
def test_serving_strangers_without_a_key_is_refused(run: Run, registry: Path, host: str) -> None:
    ended = run("serve", "--host", host, "--port", 0, "--models", registry)
    assert ended.status == 1
    assert "SEKISHO_API_KEYS" in ended.problem
    assert host in ended.problem


def test_serving_on_an_address_that_is_not_ours(
    run: Run, registry: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[[], list[str]]
) -> None:
    monkeypatch.setenv("SEKISHO_API_KEYS", "key")
    for host in ("192.0.2.1", "example.invalid"):
        ended = run("serve", "--host", host, "--port", 0, "--models", registry)
        assert ended.status == 1
        assert host in ended.problem
    (attempt,) = refused()
    assert "example.invalid" in attempt


def test_serving_with_a_wrong_registry_in_a_process_of_its_own(registry: Path) -> None:
    registry.write_text("version: 1\nmodles: []\n")
    ended = alone("serve", "--port", 0, "--models", registry)
    assert ended.status == 1
    assert "modles" in ended.err
    assert "Traceback" not in ended.err


def test_a_flag_of_serve_is_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of setting: text, numbers, a switch either way, a path, secrets, one of a few words."""
    given: dict[str, Any] = {}
    monkeypatch.setattr("sekisho.cli.serve.settings_from", partial(_stop, given))
    flags = "--host ::1 --port 9 --no-offline --anonymous --home . --api-keys a,b --cache-mib 1.5 --tune off".split()
    monkeypatch.setattr(sys, "argv", ["sekisho", "serve", *flags])
    with pytest.raises(SystemExit):
        main()
    set_here = {name: value for name, value in given.items() if value is not None}
    assert set_here == {
        "host": "::1", "port": 9, "offline": False, "anonymous": True, "home": Path(), "api_keys": "a,b",
        "cache_mib": 1.5, "tune": "off",
    }  # fmt: skip
    assert given.keys() == Settings.model_fields.keys()
    settings = Settings(**set_here)
    assert [key.get_secret_value() for key in settings.api_keys] == ["a", "b"]


def _stop(given: dict[str, Any], **flags: Any) -> NoReturn:
    given.update(flags)
    raise Failed("enough")
