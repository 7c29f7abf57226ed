"""What a prepared directory promises, and that nobody changed the promise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sekisho.contract import CONTRACT_FILE, CONTRACT_VERSION, Contract, Passage, Tokens

CONTRACT = Contract(
    kind="embedding",
    family="bert",
    inputs=("input_ids", "attention_mask"),
    outputs=("embedding", "norm"),
    width=384,
    max_tokens=256,
    pad_id=0,
    vocabulary=30522,
    pooling="mean",
    normalized=True,
    parameters=22_000_000,
    origins={"pooling": "1_Pooling/config.json", "名前": "日本語"},
    files={"model.onnx": "0" * 64},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    CONTRACT.write(tmp_path)
    assert Contract.read(tmp_path) == CONTRACT
    assert [path.name for path in tmp_path.iterdir()] == [CONTRACT_FILE]


def test_it_is_json_that_a_person_can_read(tmp_path: Path) -> None:
    CONTRACT.write(tmp_path)
    text = (tmp_path / CONTRACT_FILE).read_text("utf-8")
    assert "日本語" in text
    assert json.loads(text)["width"] == 384


@pytest.mark.parametrize(
    "change", [{"width": 385}, {"max_tokens": 512}, {"files": {}}, {"extra": 1}, {"seal": "0" * 64}]
)
def test_a_changed_value_is_noticed(tmp_path: Path, change: dict[str, object]) -> None:
    CONTRACT.write(tmp_path)
    path = tmp_path / CONTRACT_FILE
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change), "utf-8")
    with pytest.raises(ValueError, match="changed after it was written"):
        Contract.read(tmp_path)


def test_any_byte_of_a_value_counts(tmp_path: Path) -> None:
    CONTRACT.write(tmp_path)
    path = tmp_path / CONTRACT_FILE
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        try:
            read = Contract.read(tmp_path)
        except (ValueError, TypeError):
            continue
        assert read == CONTRACT, f"byte {place} changed the contract unnoticed"


@pytest.mark.parametrize("version", [0, CONTRACT_VERSION + 1, None])
def test_another_version_is_not_read(tmp_path: Path, version: int | None) -> None:
    replace(CONTRACT, version=version).write(tmp_path)  # type: ignore[arg-type]  # what a file may hold
    with pytest.raises(ValueError, match="version"):
        Contract.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "nonsense", '"text"'])
def test_what_is_no_contract(tmp_path: Path, text: str) -> None:
    (tmp_path / CONTRACT_FILE).write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        Contract.read(tmp_path)


def test_no_directory_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Contract.read(tmp_path / "absent")


def test_tokens_are_as_long_as_their_ids() -> None:
    assert len(Tokens([1, 2, 3])) == 3
    assert Passage("text") == Passage("text", 0, None)
