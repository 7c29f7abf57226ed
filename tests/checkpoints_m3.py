"""bge-m3 in small: an XLM-RoBERTa checkpoint with its two linear layers as torch.save writes them, without torch."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from tests.checkpoints import Draw
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder

Floats = NDArray[Any]
Form = Literal["Float", "Half", "BFloat16"]

BASE = tiny_encoder("xlm-roberta-cls")


@dataclass(frozen=True)
class TinyM3:
    """width: of the vectors a token gets."""

    name: str
    seed: int
    width: int
    form: Form


TINY_M3S = (
    TinyM3("m3-square", 301, BASE.config["hidden_size"], "Half"),
    TinyM3("m3-narrow", 302, 13, "Float"),
)


def write_tiny_m3(spec: TinyM3, directory: Path) -> Path:
    """`BASE`, and beside it sparse_linear.pt and colbert_linear.pt."""
    write_tiny_encoder(BASE, directory)
    draw = Draw(spec.seed)
    for name, width in (("sparse_linear", 1), ("colbert_linear", spec.width)):
        layer = draw.linear("", width, BASE.config["hidden_size"])
        write_linear(directory / f"{name}.pt", layer[".weight"], layer[".bias"], spec.form)
    return directory


def write_linear(path: Path, weight: Floats, bias: Floats, form: Form, *, pickle: bytes | None = None) -> None:
    """The archive of torch.save for a linear layer's state."""
    with zipfile.ZipFile(path, "w") as archive:
        root = path.stem
        archive.writestr(f"{root}/data.pkl", linear_pickle(weight, bias, form) if pickle is None else pickle)
        archive.writestr(f"{root}/byteorder", "little")
        archive.writestr(f"{root}/data/0", _encode(weight, form))
        archive.writestr(f"{root}/data/1", _encode(bias, form))
        archive.writestr(f"{root}/version", "3\n")


def linear_pickle(weight: Floats, bias: Floats, form: Form) -> bytes:
    """An OrderedDict of two tensors, in protocol 2."""
    parts = [b"\x80\x02ccollections\nOrderedDict\n)R("]
    for key, name, tensor in ((b"0", b"weight", weight), (b"1", b"bias", bias)):
        storage = b"(" + _text(b"storage") + f"ctorch\n{form}Storage\n".encode() + _text(key) + _text(b"cpu")
        shape, strides = tensor.shape, [stride // tensor.itemsize for stride in tensor.strides]
        parts += [_text(name), b"ctorch._utils\n_rebuild_tensor_v2\n((", storage[1:], _number(tensor.size), b"tQK\x00"]
        parts += [b"(", *map(_number, shape), b"t(", *map(_number, strides), b"t\x89ccollections\nOrderedDict\n)RtR"]
    return b"".join([*parts, b"u."])


def _text(value: bytes) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value


def _number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little")


def _encode(tensor: Floats, form: Form) -> bytes:
    if form == "BFloat16":
        return (tensor.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return tensor.astype({"Float": "<f4", "Half": "<f2"}[form]).tobytes()
