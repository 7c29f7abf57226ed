"""A linear layer out of a `.pt` file, without unpickling: nothing in the file is executed.

torch.save writes a zip: the numbers of each tensor as they lie in memory (`*/data/0`, `*/data/1`), and a pickle that
says how to put tensors together. The pickle is only looked at, opcode by opcode, for the number format and the shapes.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sekisho.errors import ConversionFailed

_FORMATS = {"torch FloatStorage": "<f4", "torch HalfStorage": "<f2", "torch BFloat16Storage": "<u2"}
_HARMLESS = {"collections OrderedDict", "torch._utils _rebuild_tensor_v2"}
_NUMBERS = {"BININT", "BININT1", "BININT2"}
_MOST_PICKLE_BYTES = 1 << 16

Floats = NDArray[np.float32]


def read_linear(path: Path, inputs: int) -> tuple[Floats, Floats]:
    """Weight [outputs, inputs] and bias [outputs] of a layer that takes `inputs` features.

    Raises ConversionFailed where the file is missing or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path.name, inputs)
    except FileNotFoundError:
        raise ConversionFailed(f"{path.name} is missing from the checkpoint") from None
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ConversionFailed(f"{path.name} is not an archive of a linear layer: {error}") from None


def _read(archive: zipfile.ZipFile, name: str, inputs: int) -> tuple[Floats, Floats]:
    members = {entry.filename.split("/", 1)[-1]: entry for entry in archive.infolist()}
    stored = sorted(
        (entry for place, entry in members.items() if re.fullmatch(r"data/\d+", place)), key=lambda one: one.file_size
    )
    pickle, order = members.get("data.pkl"), members.get("byteorder")
    if pickle is None or pickle.file_size > _MOST_PICKLE_BYTES or len(stored) != 2:
        raise ValueError("it does not hold two tensors")
    if order is not None and archive.read(order) != b"little":
        raise ValueError("it is big-endian")
    form, layouts = _look(archive.read(pickle))
    size = np.dtype(form).itemsize
    bias, weight = stored
    outputs = bias.file_size // size
    if (bias.file_size, weight.file_size) != (outputs * size, outputs * inputs * size) or not outputs:
        raise ValueError(f"its sizes {bias.file_size} and {weight.file_size} are no layer of {inputs} inputs")
    if sorted(layouts, key=len) != [[0, outputs, 1], [0, outputs, inputs, inputs, 1]]:
        raise ValueError(f"its tensors do not lie in order: {layouts}")
    return _floats(archive.read(weight), form).reshape(outputs, inputs), _floats(archive.read(bias), form)


def _look(pickle: bytes) -> tuple[str, list[list[int]]]:
    """The number format, and of each tensor its offset, shape and strides: the numbers after its storage is named."""
    forms, layouts, inside = set[str](), list[list[int]](), False
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "GLOBAL":
            if argument in _FORMATS:
                forms.add(_FORMATS[argument])
            elif argument not in _HARMLESS:
                raise ValueError(f"its pickle asks for {argument}")
        elif opcode.name in {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"}:
            raise ValueError(f"its pickle does {opcode.name}")
        elif opcode.name == "BINPERSID":
            layouts.append([])
            inside = True
        elif opcode.name in {"NEWFALSE", "NEWTRUE"}:  # whether it needs a gradient comes after the strides
            inside = False
        elif opcode.name in _NUMBERS and inside and isinstance(argument, int):
            layouts[-1].append(argument)
    if len(forms) != 1:
        raise ValueError("its tensors are not all float32, float16 or bfloat16")
    return forms.pop(), layouts


def _floats(data: bytes, form: str) -> Floats:
    numbers = np.frombuffer(data, form)
    if form == "<u2":  # bfloat16 is the upper half of a float32
        return np.left_shift(numbers, 16, dtype=np.uint32).view(np.float32)
    return numbers.astype(np.float32)
