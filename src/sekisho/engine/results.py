"""What is kept of an answer, and its byte form. Pure.

The form holds the float32 values themselves, little-endian, so what is read is bit for bit what was written. Where it
travelled through a store that others can write to, a checksum goes before it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from sekisho.contract import Rows

#: Raised with every change of the form: what an older server wrote is then no result.
_MAGIC = b"SKR1"
_NORMS, _SCORED = 1, 2
#: Magic, flags, rows, width, tokens, truncated, written.
_HEAD = struct.Struct("<4sBIIQIQ")
_CHECKSUM = struct.Struct("<I")
_FLOAT = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class Result:
    """What an engine gave for one text, or for a whole request where its texts cannot be told apart.

    rows: float32 [texts, width]. norms: float32 [texts]; None where the engine gives none.
    tokens, truncated, scored: as in `Inference`. written: when it was computed, in Unix seconds.
    """

    rows: Rows
    norms: Rows | None
    tokens: int
    truncated: int
    written: int
    scored: bool = False

    def __len__(self) -> int:
        """In tokens, as that of the text it stands for."""
        return self.tokens


def write(result: Result) -> bytes:
    """The byte form."""
    flags = (_NORMS if result.norms is not None else 0) | (_SCORED if result.scored else 0)
    head = _HEAD.pack(_MAGIC, flags, *result.rows.shape, result.tokens, result.truncated, result.written)
    norms = b"" if result.norms is None else result.norms.astype(_FLOAT, copy=False).tobytes()
    return head + result.rows.astype(_FLOAT, copy=False).tobytes() + norms


def read(data: bytes) -> Result | None:
    """The result of a byte form; None where it is none, or another version's. The arrays are views of `data`."""
    if len(data) < _HEAD.size:
        return None
    magic, flags, rows, width, tokens, truncated, written = _HEAD.unpack_from(data)
    has_norms = bool(flags & _NORMS)
    if magic != _MAGIC or len(data) != _HEAD.size + 4 * rows * (width + has_norms):
        return None
    values = np.frombuffer(data, _FLOAT, rows * width, _HEAD.size).reshape(rows, width)
    norms = np.frombuffer(data, _FLOAT, rows, _HEAD.size + 4 * rows * width) if has_norms else None
    return Result(values, norms, tokens, truncated, written, bool(flags & _SCORED))


def sealed(key: bytes, data: bytes) -> bytes:
    """Bytes behind the CRC-32 of their key and them. It finds what was damaged or swapped, not malice."""
    return _checksum(key, data) + data


def unsealed(key: bytes, data: bytes) -> bytes | None:
    """The bytes that were sealed under this key; None where they are not those."""
    body = data[_CHECKSUM.size :]
    return body if data[: _CHECKSUM.size] == _checksum(key, body) else None


def _checksum(key: bytes, data: bytes) -> bytes:
    return _CHECKSUM.pack(zlib.crc32(data, zlib.crc32(key)))
