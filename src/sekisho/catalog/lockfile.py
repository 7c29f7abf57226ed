"""models.lock: per model the commit it was pinned to, per file its size and sha256.

Generated; never written by the server.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sekisho.errors import RegistryInvalid

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _inside(path: str) -> str:
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError("a relative path that stays inside its model")
    return path


FilePath = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]+$"), AfterValidator(_inside)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pin(_Frozen):
    """What a file must be. size in bytes."""

    size: Annotated[int, Field(ge=0)]
    sha256: Digest


class LockedModel(_Frozen):
    """A model's commit and the pins of all its files."""

    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    files: Mapping[FilePath, Pin] = Field(min_length=1)


class Lock(_Frozen):
    """The whole file: models by short name."""

    version: Literal[1] = 1
    models: Mapping[str, LockedModel] = {}


def lock_path(registry: Path) -> Path:
    """models.yaml → models.lock beside it."""
    return registry.with_suffix(".lock")


def load_lock(path: Path) -> Lock:
    """An absent lock pins nothing. Raises RegistryInvalid where it is there and wrong."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Lock()
    except OSError as error:
        raise RegistryInvalid(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise RegistryInvalid(f"{path}: {error}; `sekisho lock` writes this file anew") from None
    try:
        return Lock.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "document"
        raise RegistryInvalid(f"{path}: {where}: {problem['msg']}; `sekisho lock` writes this file anew") from None


def dump_lock(lock: Lock) -> str:
    """The text of a lock file: sorted, one file a line, so that a diff reads well."""
    models = ",\n".join(_dump_model(name, model) for name, model in sorted(lock.models.items()))
    return f'{{\n "version": {lock.version},\n "models": {{\n{models}\n }}\n}}\n'


def write_lock(path: Path, lock: Lock) -> None:
    """The whole new file or the old one: a server that starts meanwhile reads either."""
    text = dump_lock(lock)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _dump_model(name: str, model: LockedModel) -> str:
    pins = sorted(model.files.items())
    files = ",\n".join(f"    {json.dumps(path)}: {json.dumps(pin.model_dump())}" for path, pin in pins)
    head = f'  {json.dumps(name)}: {{\n   "revision": {json.dumps(model.revision)},\n'
    return f'{head}   "files": {{\n{files}\n   }}\n  }}'
