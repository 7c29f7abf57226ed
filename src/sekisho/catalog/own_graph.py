"""A person's own graph and tokenizer, by MODEL_PATH and TOKENIZER_PATH: the model `default`, without a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sekisho.catalog.places import OwnFiles, names_in
from sekisho.catalog.registry import NOWHERE, Spec
from sekisho.catalog.wanted import CONFIG, TOKENIZER, is_tokenizer, wanted
from sekisho.errors import RegistryInvalid

NAME: Final = "default"
#: Where scripts/export_onnx.py puts the tokenizer, beside the graph.
_TOKENIZER_FOLDER = "tokenizer"
#: Where a checkpoint has its ready-made graphs.
_GRAPH_FOLDER = "onnx"


def own_graph(model: Path | None, tokenizer: Path | None) -> Spec | None:
    """The model that the two settings describe; None where neither is set.

    What lies beside the graph (its weights, config.json, modules.json) is read too. The tokenizer is a tokenizer.json
    or a directory with one; left out, it is looked for in `tokenizer` beside the graph, then beside the graph itself.

    Raises RegistryInvalid where one of the two is set and not there.
    """
    if model is None:
        if tokenizer is not None:
            raise RegistryInvalid("TOKENIZER_PATH is set and MODEL_PATH is not: name the graph that it is for")
        return None
    if not model.is_file():
        raise RegistryInvalid(f"MODEL_PATH is {model}, which is no file: name an ONNX graph")
    model = model.absolute()
    above = model.parent.parent
    root = above if model.parent.name == _GRAPH_FOLDER and (above / CONFIG).is_file() else model.parent
    onnx = model.relative_to(root).as_posix()
    spec = Spec(name=NAME, source=NOWHERE, onnx=onnx)
    files = {name: root / name for name in wanted(list(names_in(root)), spec, onnx=onnx) if not is_tokenizer(name)}
    files |= _tokenizer(root, model.parent, tokenizer)
    return spec.model_copy(update={"source": OwnFiles(files=files)})


def _tokenizer(root: Path, beside: Path, named: Path | None) -> dict[str, Path]:
    if named is not None and named.is_file():
        return {TOKENIZER: named.absolute()}
    places = [named] if named is not None else [beside / _TOKENIZER_FOLDER, beside, root]
    for place in places:
        found = {path.name: path.absolute() for path in place.glob("*") if is_tokenizer(path.name) and path.is_file()}
        if found:
            return found
    shown = f"TOKENIZER_PATH is {named}, which" if named is not None else "the folder of MODEL_PATH"
    raise RegistryInvalid(f"{shown} has no tokenizer: set TOKENIZER_PATH to a tokenizer.json or the directory with it")
