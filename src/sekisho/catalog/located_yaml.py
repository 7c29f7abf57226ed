"""YAML that remembers where each key stood, so that an error can name its line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from sekisho.errors import RegistryInvalid

Location = Sequence[str | int]

#: The keys that may stand at a location.
KnownKeys = Callable[[Location], Iterable[str]]


class LocatedYaml:
    """A parsed document: `data` as plain values, and the node tree with its line numbers."""

    def __init__(self, name: str, data: Any, root: yaml.Node | None) -> None:
        """`name`: what messages call the file."""
        self._name = name
        self.data = data
        self._root = root

    @classmethod
    def read(cls, path: Path) -> LocatedYaml:
        """Raises RegistryInvalid where the file is missing, no YAML, or gives a key twice."""
        try:
            # Read once: the shipped registry takes PyYAML a twentieth of a second.
            loader = yaml.SafeLoader(path.read_text("utf-8"))
            document = cls(str(path), None, loader.get_single_node())
            document._refuse_duplicates()  # before `<<` is resolved, which writes into the nodes
            if document._root is not None:
                document.data = loader.construct_document(document._root)
        except RegistryInvalid:
            raise
        except OSError as error:
            raise RegistryInvalid(f"{path}: {error.strerror or error}") from None
        except Exception as error:  # PyYAML's own, and what Python raises for `!!int ""` or a thousand brackets
            raise RegistryInvalid(f"{path}: {_yaml_problem(error)}") from None
        return document

    def at(self, location: Location, message: str) -> str:
        """`file:line: key: message` for a location such as ("models", 0, "source", "hub")."""
        key = ".".join(f"[{part}]" if isinstance(part, int) else part for part in location).replace(".[", "[")
        return f"{self._name}:{self._line(location)}: {key or 'document'}: {message}"

    def explain(self, error: ValidationError, known_keys: KnownKeys) -> str:
        """Every mistake on a line of its own, in the order of the file."""
        problems = sorted(error.errors(), key=lambda problem: self._line(problem["loc"]))
        return "\n".join(self.at(p["loc"], _expectation(p["loc"], dict(p), known_keys)) for p in problems)

    def _line(self, location: Location) -> int:
        """Line of the deepest part of `location` that stands in the file, counted from 1."""
        node, line = self._root, 1
        for part in location:
            child = _child(node, part)
            if child is None:
                break
            node, line = child
        return line

    def _refuse_duplicates(self) -> None:
        """Each node once: an alias may name a node that holds it."""
        waiting = [] if self._root is None else [self._root]
        seen: set[int] = set()
        while waiting:
            node = waiting.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += node.value
            elif isinstance(node, yaml.MappingNode):
                self._refuse_twice([key for key, _ in node.value])
                waiting += [value for _, value in node.value]

    def _refuse_twice(self, keys: Sequence[yaml.Node]) -> None:
        given: set[tuple[str, str]] = set()
        for key in keys:
            name = (key.tag, str(key.value))
            if name in given:
                raise RegistryInvalid(f"{self._name}:{key.start_mark.line + 1}: {key.value}: is given twice")
            given.add(name)


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return value, key.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        value = node.value[part]
        return value, value.start_mark.line + 1
    return None


def _expectation(location: Location, problem: dict[str, Any], known_keys: KnownKeys) -> str:
    """pydantic's words for a mistake, in a registry's words: what was expected, and what stood there."""
    if problem["type"] == "missing":
        return "is required"
    if problem["type"] == "extra_forbidden":
        known = sorted(known_keys(location[:-1]))
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"is not a known key; {hint}"
    expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if problem["type"] == "model_type":
        expected = f"a mapping with keys of its own: {', '.join(sorted(known_keys(location)))}"
    got = "" if isinstance(problem["input"], dict | list) else f", got {problem['input']!r}"
    return f"expected {expected}{got}"


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or f"cannot be read: {' '.join(str(error).split())}"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem
