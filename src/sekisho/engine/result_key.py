"""Under which key a text's result is kept: everything that decides it, in one digest. Pure."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version

import sekisho
from sekisho.catalog.registry import Spec, describe
from sekisho.contract import Contract, Passage, Truncation
from sekisho.runtime.machine import Machine
from sekisho.runtime.select import Choice

#: So long that nobody finds two texts with one key, whoever shares the cache with them.
KEY_BYTES = 24

#: Flags, `prompt_chars`, bytes of the text. What the flags name follows the text, each behind its own length.
_HEAD = struct.Struct("<BQQ")
_LENGTH = struct.Struct("<Q")
_IDS, _PAIR, _FRAME, _DOCUMENT_TOKENS, _KIND, _DIMENSIONS = (1 << bit for bit in range(6))

#: What a choice says beside that which decides the numbers.
_NO_MATTER = {"lanes", "threads", "reason"}
#: What turns text into tokens.
_TOKENIZERS = ("tokenizers", "sentencepiece", "fugashi", "unidic-lite", "neologdn")


def local_identity(contract: Contract, choice: Choice, machine: Machine) -> bytes:
    """Everything but the text that decides a result of a model in this process.

    contract: as it is served; it vouches for every file of the model. Two servers have the same identity where the same
    text gives the same vector but for the last bits, which a batch's other texts change too.
    """
    return _identity(
        contract=asdict(contract),
        choice={name: value for name, value in asdict(choice).items() if name not in _NO_MATTER},
        machine=[machine.architecture, sorted(machine.formats), machine.onnxruntime, machine.openvino],
        tokenizers={name: _installed(name) for name in _TOKENIZERS},
    )


def upstream_identity(spec: Spec) -> bytes:
    """Everything that models.yaml says of a model that another service runs."""
    return _identity(spec=describe(spec))


def _identity(**parts: object) -> bytes:
    parts["sekisho"] = sekisho.__version__
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


class Keys:
    """Passages → keys, for one identity."""

    def __init__(self, identity: bytes, *, elsewhere: bool = False) -> None:
        """elsewhere: the model is another service's, which is told `kind` and `dimensions`."""
        self._elsewhere = elsewhere
        self._seeds = {
            truncation: hashlib.blake2b(identity + truncation.encode(), digest_size=KEY_BYTES)
            for truncation in ("end", "start", "none")
        }

    def of(self, passage: Passage, truncation: Truncation) -> bytes:
        """The key of one text."""
        seed = self._seeds[truncation].copy()
        seed.update(canonical(passage, elsewhere=self._elsewhere))
        return seed.digest()

    def of_all(self, passages: Sequence[Passage], truncation: Truncation) -> bytes:
        """The key of a request as a whole, which is no text's."""
        seed = self._seeds[truncation].copy()
        seed.update(b"all" + _LENGTH.pack(len(passages)))
        for passage in passages:
            data = canonical(passage, elsewhere=self._elsewhere)
            seed.update(_LENGTH.pack(len(data)) + data)
        return seed.digest()


def canonical(passage: Passage, *, elsewhere: bool) -> bytes:
    """A passage as bytes that no other passage has; of `field`, which only errors quote, nothing.

    A lone surrogate has bytes too: it is the engine that refuses it.
    """
    flags, fields = 0, []
    for flag, value in _extras(passage, elsewhere=elsewhere):
        flags |= flag
        fields.append(_field(value))
    text = passage.text.encode("utf-8", "surrogatepass")
    head = _HEAD.pack(flags, passage.prompt_chars, len(text))
    return b"".join((head, text, *fields)) if fields else head + text


def _extras(passage: Passage, *, elsewhere: bool) -> list[tuple[int, str]]:
    """What a passage has beside its text, in the order of the flags."""
    extras = []
    if passage.ids is not None:
        extras.append((_IDS, ",".join(map(str, passage.ids))))
    if passage.pair is not None:
        extras.append((_PAIR, passage.pair))
    if passage.frame is not None:
        extras += [(_FRAME, text) for text in passage.frame]
    if passage.document_tokens is not None:
        extras.append((_DOCUMENT_TOKENS, str(passage.document_tokens)))
    if elsewhere and passage.kind is not None:
        extras.append((_KIND, passage.kind))
    if elsewhere and passage.dimensions is not None:
        extras.append((_DIMENSIONS, str(passage.dimensions)))
    return extras


def _field(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return _LENGTH.pack(len(data)) + data
