"""The documentation says what the program does: its commands are run, and its tables compared with the code."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

import sekisho
from sekisho import cli, errors
from sekisho.catalog.registry import Spec, load_registry
from sekisho.http.routes.openai import EmbeddingsBody
from sekisho.settings import Settings
from tests.checkpoints import TINY_BERTS, write_tiny_bert

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/sekisho"
PROGRAMS = Path(sys.executable).parent
READMES = ("README.md", "README.ja.md")
PAGES = (*READMES, "CHANGELOG.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
DOCUMENTED_URL = "http://127.0.0.1:8000"

readmes = pytest.mark.parametrize("page", READMES)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    tested: bool


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str) -> list[Block]:
    found = re.findall(r"^(<!-- tested -->\n)?```(\w*)\n(.*?)^```$", read(page), re.DOTALL | re.MULTILINE)
    return [Block(language, text, bool(tested)) for tested, language, text in found]


def prose(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)


def headings(page: str) -> list[tuple[int, str]]:
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)]


def rows(page: str, first_cell: str) -> list[list[str]]:
    """The rows of the one table of the page that has a row whose first cell matches."""
    tables = [
        [[cell.strip() for cell in row.strip("| \n").split(" | ")] for row in table.splitlines()[2:]]
        for table in re.findall(r"(?:^\|.*\n)+", prose(page), re.MULTILINE)
    ]
    (found,) = [table for table in tables if any(re.match(first_cell, row[0]) for row in table)]
    return found


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def names_of(name: str, field: FieldInfo, prefix: str = "") -> list[str]:
    if isinstance(field.validation_alias, AliasChoices):
        return [str(choice) for choice in field.validation_alias.choices]
    return [prefix + name.upper() if prefix else name]


TESTED = list(dict.fromkeys(block.text for page in READMES for block in blocks(page) if block.tested))


@pytest.fixture(scope="module")
def server(minilm_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a real server on the repository's own models.yaml."""
    log = tmp_path_factory.mktemp("server") / "stderr"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [PROGRAMS / "sekisho", "serve", "--port", "0", "--offline"],
            cwd=ROOT,
            env={"SEKISHO_HOME": str(minilm_home), "SEKISHO_TUNE": "off", "COLUMNS": "200"},
            stderr=stderr,
        )
    try:
        deadline = time.monotonic() + 60
        while (greeting := re.search(r"http://127\.0\.0\.1:\d+", log.read_text("utf-8"))) is None:
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.05)
        yield greeting[0]
    finally:
        process.terminate()
        process.wait(30)


def run(command: str, cwd: Path, home: Path) -> str:
    """Run a documented block as a person would who stops at the first failure."""
    if "curl " in command and shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    script = 'set -euo pipefail\ncurl() { command curl -sS --fail-with-body --max-time 60 "$@"; }\n' + command
    done = subprocess.run(
        ["bash", "-c", script.replace(".venv/bin/", f"{PROGRAMS}/")],
        cwd=cwd,
        env={"SEKISHO_HOME": str(home), "SEKISHO_OFFLINE": "true", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("command", TESTED, ids=lambda text: " ".join(text.split()[:3]))
def test_commands_of_the_readmes_run(command: str, server: str, minilm_home: Path) -> None:
    assert run(command.replace(DOCUMENTED_URL, server), ROOT, minilm_home)


def test_the_readmes_have_commands_that_are_tested() -> None:
    text = "\n".join(TESTED)
    assert "/v1/embeddings" in text
    assert "sekisho embed" in text


def test_adding_a_model_works_as_described(tmp_path: Path, home: Path) -> None:
    page = "docs/add-a-model.md"
    (registry,) = [block.text for block in blocks(page) if block.tested and block.language == "yaml"]
    commands = [block.text for block in blocks(page) if block.tested and block.language == "bash"]
    (tmp_path / "models.yaml").write_text(registry, "utf-8")
    write_tiny_bert(TINY_BERTS[0], tmp_path / "my-model")
    for command in commands:
        run(command, tmp_path, home)
    assert (tmp_path / "models.lock").is_file()
    assert (tmp_path / "my-model-prepared/contract.json").is_file()
    assert load_registry(tmp_path / "models.yaml").default("embedding").prompts


def test_run_sh_and_scripts_that_are_named_exist() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?<![\w/])(?:\./)?(run\.sh|scripts/[\w-]+(?:\.\w+)?)", read(page))
    }
    assert "scripts/setup" in named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", [*READMES, "docs/add-a-model.md"])
def test_registry_examples_load(page: str, tmp_path: Path) -> None:
    examples = [block.text for block in blocks(page) if block.language == "yaml"]
    assert examples
    for example in examples:
        (tmp_path / "models.yaml").write_text(example, "utf-8")
        assert list(load_registry(tmp_path / "models.yaml"))


@pytest.mark.parametrize("page", PAGES)
def test_python_and_json_examples_parse(page: str) -> None:
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text)
        if block.language == "json":
            json.loads(block.text)


@readmes
def test_the_error_shown_is_the_error_given(page: str, server: str) -> None:
    (shown,) = [json.loads(block.text) for block in blocks(page) if block.language == "json"]
    body = {"model": "all-minilm-l6", "input": "こんにちは"}
    assert httpx.post(f"{server}/v1/embeddings", json=body).json() == shown


def test_the_readmes_say_the_same() -> None:
    english, japanese = READMES
    assert [level for level, _ in headings(english)] == [level for level, _ in headings(japanese)]
    assert blocks(english) == blocks(japanese)
    for first_cell in (r"`POST /", "`input`", "`SEKISHO_", "`sekisho ", "`cli/`", "`scripts/"):
        there = [quoted(row[0]) for row in rows(english, first_cell)]
        assert there == [quoted(row[0]) for row in rows(japanese, first_cell)]


@readmes
def test_every_setting_is_in_the_table(page: str) -> None:
    table = {quoted(row[0])[0]: row for row in rows(page, "`SEKISHO_")}
    expected = {f"SEKISHO_{name.upper()}": (name, field) for name, field in Settings.model_fields.items()}
    assert table.keys() == expected.keys()
    assert _options("serve") >= set(Settings.model_fields)
    for variable, (name, field) in expected.items():
        _, others, flag, default, meaning = table[variable]
        assert [variable, *quoted(others)] == names_of(name, field, "SEKISHO_")
        assert quoted(flag) == [f"--{name.replace('_', '-')}"]
        if isinstance(field.default, str | int | float):
            assert quoted(default) == [str(field.default).lower()]
        assert meaning


@readmes
def test_every_field_of_the_request_is_in_the_table(page: str) -> None:
    described = [name for row in rows(page, "`input`") for name in quoted(row[0])]
    expected = [name for key, field in EmbeddingsBody.model_fields.items() for name in names_of(key, field)]
    assert sorted(described) == sorted(expected)


@readmes
def test_every_command_is_in_the_table(page: str) -> None:
    described = {match[1] for row in rows(page, "`sekisho ") if (match := re.match(r"`sekisho ([a-z ]*[a-z])", row[0]))}
    assert described == set(_commands(typer.main.get_command(cli.app)))


@readmes
def test_every_route_is_in_the_table(page: str, server: str) -> None:
    document = httpx.get(f"{server}/openapi.json").json()
    offered = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert offered <= set(_routes(page))


@readmes
def test_every_route_of_the_table_is_there(page: str, server: str) -> None:
    names = {"/v1/models/{name}": "all-minilm-l6-v2", "/docs/{name}": "swagger-ui.css"}
    with httpx.Client(base_url=server) as client:
        for method, path in _routes(page):
            answer = client.request(method, path.replace("{name}", names.get(path, "")))
            assert answer.status_code in ({200} if method == "GET" and path != "/embed" else {400}), (method, path)


@readmes
def test_every_part_is_in_the_module_map(page: str) -> None:
    described = {name.rstrip("/") for row in rows(page, "`cli/`") for name in quoted(row[0])}
    there = {path.name for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    assert described == there - {"data"}


def test_every_module_is_in_the_architecture() -> None:
    described = {name for row in rows("docs/architecture.md", "`cli/") for name in quoted(row[0])}
    there = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")}
    assert described == there


def test_every_key_of_a_model_is_described() -> None:
    assert {quoted(row[0])[0] for row in rows("docs/add-a-model.md", "`aliases`")} == set(Spec.model_fields)


def test_every_error_is_described() -> None:
    table = [
        (int(status), *quoted(code), *quoted(kind), retry)
        for status, code, kind, retry, _ in rows("docs/errors.md", r"\d{3}$")
    ]
    expected = [
        (error.status, error.code, error.type, f"{error.retry_after_seconds} s" if error.retry_after_seconds else "–")
        for error in _errors(errors.SekishoError)
    ]
    assert sorted(table) == sorted(expected)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if anchor:
            there = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            assert anchor in [_slug(title) for _, title in headings(str(there))], target


def test_the_changelog_knows_this_version() -> None:
    assert sekisho.__version__ in read("CHANGELOG.md")


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_path_of_somebodys_machine(page: str) -> None:
    assert re.findall(r"(?<![\w.:/}])/(?:home|root|Users|work|tmp|mnt)/\S*", read(page)) == []


def _slug(title: str) -> str:
    """As GitHub makes an anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _routes(page: str) -> list[tuple[str, str]]:
    """Methods and paths of the first column; a path without a method takes the one before it."""
    found: list[tuple[str, str]] = []
    for row in rows(page, "`POST /"):
        method = ""
        for text in quoted(row[0]):
            head, _, path = text.rpartition(" ")
            method = head or method
            found.append((method, path))
    return found


def _commands(group: Any, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        yield f"{before}{name}"
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")


def _options(command: str) -> set[str]:
    group: Any = typer.main.get_command(cli.app)
    return {option.name for option in group.commands[command].params}


def _errors(base: type[errors.SekishoError]) -> Iterator[type[errors.SekishoError]]:
    for error in base.__subclasses__():
        if error.__module__ == errors.__name__:
            yield error
            yield from _errors(error)
