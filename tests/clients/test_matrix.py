"""docs/clients.md says what these tests found. (The table itself is printed at the end of every run.)"""

from __future__ import annotations

import pytest

from tests.clients.environments import ALL, REQUIREMENTS
from tests.clients.matrix import Matrix, written_between


def test_the_page_says_what_was_found(matrix: Matrix, pytestconfig: pytest.Config) -> None:
    """Runs last. Where only some tests were selected, the page may say more than they found, but nothing else."""
    if pytestconfig.getoption("write_docs", default=False) or not matrix.passed:
        return
    table, texts = written_between("matrix"), written_between("errors")
    advice = "docs/clients.md is not what the tests found: run scripts/client-matrix"
    if matrix.whole and {*matrix.clients} >= {*ALL, "curl"}:
        assert matrix.markdown_rows() == table, advice
    assert {*matrix.markdown_texts()} <= {*texts}, advice


def test_every_environment_is_a_column() -> None:
    assert {path.stem for path in REQUIREMENTS.glob("*.txt")} == {*ALL}
    assert {path.stem for path in REQUIREMENTS.glob("*.in")} == {*ALL}


def test_no_environment_brings_pytorch() -> None:
    for pins in REQUIREMENTS.glob("*.txt"):
        assert "torch" not in pins.read_text("utf-8")


def test_the_pins_name_no_address() -> None:
    for pins in [*REQUIREMENTS.glob("*.txt"), *REQUIREMENTS.glob("*.in")]:
        assert "://" not in pins.read_text("utf-8")
