"""What is kept of an answer: its bytes come back bit for bit, and nothing else is taken for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.engine.results import Result, read, sealed, unsealed, write

NUMBERS = st.integers(0, 2**32 - 1)


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Any bits that a float32 can have: NaNs with a payload, -0, subnormals."""
    rows, width = draw(st.integers(0, 4)), draw(st.integers(1, 9))
    bits = draw(st.lists(NUMBERS, min_size=rows * (width + 1), max_size=rows * (width + 1)))
    floats = np.array(bits, np.uint32).view(np.float32)
    norms = floats[rows * width :] if draw(st.booleans()) else None
    tokens, truncated, written = draw(st.integers(0, 2**63)), draw(NUMBERS), draw(st.integers(0, 2**63))
    return Result(floats[: rows * width].reshape(rows, width), norms, tokens, truncated, written, draw(st.booleans()))


def same(one: Result, other: Result) -> bool:
    """Bit for bit, where `==` would say of NaN that it is not itself."""
    return write(one) == write(other) and one.rows.shape == other.rows.shape


@given(results())
def test_what_is_read_is_what_was_written(result: Result) -> None:
    back = read(write(result))
    assert back is not None
    assert back.rows.tobytes() == result.rows.tobytes()
    assert back.rows.shape == result.rows.shape
    assert (back.norms is None) == (result.norms is None)
    if back.norms is not None and result.norms is not None:
        assert back.norms.tobytes() == result.norms.tobytes()
    said = [(one.tokens, one.truncated, one.written, one.scored) for one in (back, result)]
    assert said[0] == said[1]


@given(results())
def test_rows_of_any_layout_are_written_alike(result: Result) -> None:
    wide = np.repeat(result.rows, 2, axis=1)[:, ::2]
    assert write(Result(wide, None, 1, 0, 2)) == write(Result(result.rows, None, 1, 0, 2))


@given(results(), st.data())
def test_bytes_of_another_length_are_no_result(result: Result, data: st.DataObject) -> None:
    written = write(result)
    assert read(written + b"\0") is None
    if len(written) > 0:
        assert read(written[: data.draw(st.integers(0, len(written) - 1))]) is None


@given(st.binary(max_size=300))
def test_other_bytes_are_no_result(data: bytes) -> None:
    assert read(data) is None


@given(results())
def test_another_versions_bytes_are_no_result(result: Result) -> None:
    assert read(b"SKR0" + write(result)[4:]) is None


@given(st.binary(min_size=1, max_size=40), st.binary(max_size=300), st.data())
def test_a_seal_finds_every_flipped_bit_and_every_other_key(key: bytes, body: bytes, data: st.DataObject) -> None:
    closed = sealed(key, body)
    assert unsealed(key, closed) == body
    place = data.draw(st.integers(0, 8 * len(closed) - 1))
    flipped = bytearray(closed)
    flipped[place // 8] ^= 1 << place % 8
    assert unsealed(key, bytes(flipped)) is None
    other = bytearray(key)
    other[0] ^= 1
    assert unsealed(bytes(other), closed) is None


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0", b"SKR1"])
def test_what_is_too_short_for_a_seal_has_none(data: bytes) -> None:
    assert unsealed(b"key", data) is None
