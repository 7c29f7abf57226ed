"""docs/clients.md says what these tests found. (The tables themselves are printed at the end of every run.)"""

from __future__ import annotations

import pytest

from tests.clients.columns import COLUMNS, FAMILIES
from tests.clients.environments import LONG, NPM_PINS, REQUIREMENTS
from tests.clients.matrix import Matrix, shown, written_between

#: An environment that is no client: what tries the OpenAPI document.
TOOLS = {"schemathesis"}


def test_the_page_says_what_was_found(matrix: Matrix, pytestconfig: pytest.Config) -> None:
    """Runs last. Where only some tests were selected, the page may say more than they found, but nothing else."""
    if pytestconfig.getoption("write_docs", default=False) or not matrix.passed:
        return
    tables, texts = written_between("matrix"), written_between("errors")
    advice = "docs/clients.md is not what the tests found: run scripts/client-matrix"
    if matrix.complete:
        assert matrix.markdown_rows() == tables, advice
        assert matrix.markdown_texts() == texts, advice
    elif matrix.whole:
        for found in matrix.found():
            assert any(all(part in line for part in found) for line in texts), f"{advice} ({found})"


@pytest.mark.parametrize(
    ("text", "as_shown"),
    [
        ("", "(no text)"),
        ("Error code: 400 - `input` is empty\nand more", "Error code: 400 - `input` is empty and more"),
        ("30,107 tokens wait for this", "8,123 tokens wait for this"),
        (
            "404 for http://127.0.0.1:45257/m/x (req_22f099ad1e85a83ce2926e96)",
            "404 for http://127.0.0.1:8000/m/x (req_…)",
        ),
        (
            """400 - {'error': {'message': "It's `a`", 'type': 'b'}, 'message': 'c'}""",
            """400 - {'error': {'message': "It's `a`", …""",
        ),
        ("""{"error":"the \\"model\\" is","message":"the"}""", """{"error":"the \\"model\\" is", …"""),
        ("headers: {'date': 'today', 'x': 'y'}, status_code: 404", "headers: {…}, status_code: 404"),
        ("wrong: list index\nTraceback (most recent call last):\n  File", "wrong: list index …"),
        ("a" * 500, "a" * 400 + "…"),
    ],
)
def test_texts_are_shown_without_what_changes(text: str, as_shown: str) -> None:
    assert shown(text) == as_shown


def test_every_environment_has_a_column() -> None:
    pinned = {path.stem for path in REQUIREMENTS.glob("*.txt")}
    assert pinned - TOOLS == {column.environment for column in COLUMNS.values() if column.environment}
    assert pinned == {path.stem for path in REQUIREMENTS.glob("*.in")}


def test_the_quick_environments_are_those_of_scripts_test() -> None:
    quick = {
        path.stem for path in REQUIREMENTS.glob("*.in") if path.read_text("utf-8").startswith("# in every test run")
    }
    assert {path.stem for path in REQUIREMENTS.glob("*.in")} - quick == set(LONG)


def test_columns_are_told_apart() -> None:
    for family in FAMILIES:
        titles = [(column.title, column.distribution) for column in COLUMNS.values() if column.family == family]
        assert len(titles) == len({*titles})


def test_no_environment_brings_pytorch() -> None:
    for pins in REQUIREMENTS.glob("*.txt"):
        assert "torch" not in pins.read_text("utf-8")


def test_the_pins_name_no_address() -> None:
    for pins in [*REQUIREMENTS.glob("*.txt"), *REQUIREMENTS.glob("*.in"), *NPM_PINS.parent.glob("*.json")]:
        assert "://" not in pins.read_text("utf-8")
