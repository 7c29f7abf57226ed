"""models.yaml: which models exist, what they are called, and what is said of each."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from sekisho.catalog.located_yaml import LocatedYaml, Location
from sekisho.catalog.lockfile import FilePath
from sekisho.contract import Kind, Pooling, Precision
from sekisho.errors import ModelNotFound, RegistryInvalid

#: Models are found in this file of the working directory unless a setting says otherwise.
LOCAL_FILE = Path("models.yaml")

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _duration(value: object) -> object:
    """`90s`, `15m`, `2h`, `1d` → timedelta; `always` → None."""
    if value == "always":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|d)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration such as 90s, 15m, 2h, 1d, or always")
    try:
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError:
        raise ValueError("a duration of at most 999999999d") from None


def _limited(duration: timedelta | None) -> timedelta:
    if not duration:
        raise ValueError("a duration such as 10s")
    return duration


Duration = Annotated[timedelta | None, BeforeValidator(_duration)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
TokenId = Annotated[int, Field(ge=0)]


#: What a CPU must have for a ready-made file, the most particular first.
Cpu = Literal["arm64", "avx512_vnni", "avx512", "avx2"]

#: What a checkpoint gives besides one vector or one logit.
Head = Literal["sparse", "colbert", "yes_no"]

_EMBEDDING_KEYS = ("pooling", "dimensions", "matryoshka", "allow_truncate_dimensions")
_RERANKER_KEYS = ("activation", "template", "yes_no")
#: Heads of the other kind.
_WRONG_HEADS: Mapping[Kind, frozenset[Head]] = {
    "embedding": frozenset({"yes_no"}),
    "reranker": frozenset({"sparse", "colbert"}),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Place(_Strict):
    """Where files can be had besides the source: an installed Python distribution, or a directory."""

    package: Text | None = None
    subdir: str = ""
    path: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> Place:
        if (self.package is None) == (self.path is None):
            raise ValueError("exactly one of package, path")
        return self


def _full_commit(revision: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError("a full commit, 40 hex digits (a branch or tag moves, and vectors would move with it)")
    return revision


class Source(_Strict):
    """Where a model comes from. `revision` is a full commit: a branch moves, and vectors would move with it."""

    hub: Text | None = None
    revision: Annotated[str, AfterValidator(_full_commit)] | None = None
    path: Path | None = None
    package: Text | None = None
    subdir: str = ""
    mirrors: tuple[Place, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> Source:
        if self is not NOWHERE and sum(place is not None for place in (self.hub, self.path, self.package)) != 1:
            raise ValueError("exactly one of hub, path, package")
        return self


#: The source of a model that another service runs.
NOWHERE = Source.model_construct()


class TokenizerChoice(_Strict):
    """How text becomes ids; `auto` goes by what the checkpoint holds."""

    kind: Literal["auto", "tokenizer_json", "bert_japanese", "mluke", "sentencepiece"] = "auto"


_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


def _addresses(value: object) -> object:
    """One address or a list of them → all of them."""
    return (value,) if isinstance(value, str) else value


def _is_address(url: str) -> bool:
    try:
        return _URL.fullmatch(url) is not None and urlsplit(url).port != 0
    except ValueError:  # a port beyond 65535, or half of an IPv6 address
        return False


def _reachable(urls: tuple[str, ...]) -> tuple[str, ...]:
    if not urls or not all(map(_is_address, urls)):
        raise ValueError("an http:// or https:// address without user, query and fragment, or a list of them")
    if len(set(urls)) != len(urls):
        raise ValueError("every address once")
    return urls


class Upstream(_Strict):
    """Another service that runs the model. `key_env` names the environment variable that holds its key.

    base_url: one address, or one for each replica. concurrency: most calls under way, over all replicas.
    retries: attempts after the first. batch: most texts or documents a call; None: as many as the API takes.
    kinds: what the service calls our kinds of text; None: as the API does, empty: it is told none.
    """

    api: Literal["openai", "cohere", "jina", "voyage", "tei", "vllm", "sekisho"]
    base_url: Annotated[tuple[str, ...], BeforeValidator(_addresses), AfterValidator(_reachable)]
    model: Text
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    timeout: Annotated[Duration, AfterValidator(_limited)] = timedelta(seconds=30)
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 8
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    batch: Annotated[int, Field(ge=1)] | None = None
    kinds: Mapping[str, Text] | None = None


class Template(_Strict):
    """The text a language model judges a pair by: prefix, body and suffix, the body with slots.

    task: what `{task}` becomes where a request has no instruction.
    """

    prefix: str = ""
    body: str
    suffix: str = ""
    task: str = ""

    @model_validator(mode="after")
    def _slots(self) -> Template:
        missing = [slot for slot in ("{query}", "{document}") if slot not in self.body]
        if missing:
            raise ValueError(f"a body with {' and '.join(missing)}")
        return self


class Spec(_Strict):
    """One model as models.yaml describes it. What is left out is read from the checkpoint."""

    name: Name
    aliases: tuple[Name, ...] = ()
    kind: Kind = "embedding"
    source: Source
    upstream: Upstream | None = None
    onnx: FilePath | None = None
    variants: Mapping[Cpu, FilePath] = {}
    precision: Precision = "auto"
    force_precision: bool = False
    family: str | None = None
    parameters: Annotated[int, Field(ge=1)] | None = None
    pooling: Pooling | None = None
    normalize: bool | None = None
    heads: tuple[Head, ...] = ()
    activation: Literal["sigmoid", "none"] | None = None
    template: Template | None = None
    yes_no: tuple[TokenId, TokenId] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    matryoshka: tuple[Annotated[int, Field(ge=1)], ...] = ()
    allow_truncate_dimensions: bool = False
    max_tokens: Annotated[int, Field(ge=2)] | None = None
    tokenizer: TokenizerChoice = TokenizerChoice()
    normalization: Literal["none", "nfkc", "neologdn"] = "none"
    prompts: Mapping[str, str] = {}
    default_prompt: str | None = None
    truncate: bool = True
    token_ids: Literal["cl100k", "native", "reject"] = "cl100k"
    languages: tuple[str, ...] = ()
    license: str | None = None
    preload: bool = False
    keep_alive: Duration = timedelta(minutes=15)

    @model_validator(mode="before")
    @classmethod
    def _upstream_has_no_files(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("upstream") is not None and "source" not in data:
            return data | {"source": NOWHERE}
        return data

    @model_validator(mode="after")
    def _one_source(self) -> Spec:
        if self.upstream is not None and self.source is not NOWHERE:
            raise ValueError("exactly one of source, upstream")
        return self

    @model_validator(mode="after")
    def _elsewhere(self) -> Spec:
        """A service takes plain texts and has its own template."""
        if self.upstream is not None and self.token_ids == "native":
            raise ValueError("a model with upstream to have token_ids of cl100k or reject")
        if self.upstream is not None and self.template is not None:
            raise ValueError("a model with upstream to have no template")
        return self

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Spec:
        wrong = _RERANKER_KEYS if self.kind == "embedding" else _EMBEDDING_KEYS
        given = [key for key in wrong if getattr(self, key)]
        given += [f"heads: [{head}]" for head in self.heads if head in _WRONG_HEADS[self.kind]]
        if given:
            raise ValueError(f"{self.kind} models without {', '.join(given)}")
        return self

    @model_validator(mode="after")
    def _narrower(self) -> Spec:
        if self.dimensions is not None and any(width > self.dimensions for width in self.matryoshka):
            raise ValueError(f"matryoshka of at most the {self.dimensions} dimensions")
        return self

    @model_validator(mode="after")
    def _default_prompt_exists(self) -> Spec:
        if self.default_prompt is not None and self.default_prompt not in self.prompts:
            raise ValueError(
                f"default_prompt {self.default_prompt!r} is none of prompts: {', '.join(self.prompts) or 'empty'}"
            )
        return self

    @property
    def pinned(self) -> bool:
        return self.source.hub is None or self.source.revision is not None

    @property
    def origin(self) -> str:
        """Who published the model, as far as the registry says: an organisation of the hub, or an API."""
        if self.upstream is not None:
            return self.upstream.api
        return (self.source.hub or "local").split("/")[0]


class _Defaults(_Strict):
    embedding: Name | None = None
    reranker: Name | None = None


def _not_empty(models: tuple[Spec, ...]) -> tuple[Spec, ...]:
    """Only asked of specs that are right: `min_length` would count those that are not as missing."""
    if not models:
        raise ValueError("at least one model")
    return models


class _File(_Strict):
    version: Literal[1]
    defaults: _Defaults = _Defaults()
    aliases: Mapping[Name, Name] = {}
    models: Annotated[tuple[Spec, ...], AfterValidator(_not_empty)]


class Registry:
    """Every model that exists, found by short name, alias or hub id."""

    def __init__(self, file: _File, directory: Path) -> None:
        """`directory`: where relative paths in the registry start."""
        self.directory = directory
        self._defaults = file.defaults
        self._specs = {spec.name: spec for spec in file.models}
        self._names = _all_names(file)

    def altered(self, **values: Any) -> Registry:
        """The same models with these values in place of their own; nothing is validated."""
        other = copy.copy(self)
        other._specs = {name: spec.model_copy(update=values) for name, spec in self._specs.items()}
        return other

    def adding(self, spec: Spec) -> Registry:
        """The same models and one more. Raises RegistryInvalid where its name is taken."""
        if spec.name.casefold() in self._folded():
            raise RegistryInvalid(f"a model of the registry is called {spec.name!r} like that of MODEL_PATH: rename it")
        other = copy.copy(self)
        other._specs = self._specs | {spec.name: spec}
        other._names = self._names | {spec.name: spec.name}
        return other

    def defaulting(self, kind: Kind, name: str) -> Registry:
        """The same models with another default. Raises RegistryInvalid where there is no such model of the kind."""
        setting = f"SEKISHO_{kind.upper()}_MODEL ({kind.upper()}_MODEL_NAME)"
        try:
            spec = self.find(name)
        except ModelNotFound as error:
            raise RegistryInvalid(f"{setting}: {error.message}") from None
        if spec.kind != kind:
            raise RegistryInvalid(f"{setting}: the model {name!r} is of kind {spec.kind}")
        other = copy.copy(self)
        other._defaults = self._defaults.model_copy(update={kind: spec.name})
        return other

    def __iter__(self) -> Iterator[Spec]:
        return iter(self._specs.values())

    def names(self, spec: Spec) -> list[str]:
        """Every name that leads to this model, its own first."""
        return sorted(
            (name for name, target in self._names.items() if target == spec.name), key=lambda n: n != spec.name
        )

    def find(self, name: str) -> Spec:
        """Raises ModelNotFound, whose message lists close names."""
        target = self._names.get(name) or self._folded().get(name.casefold())
        if target is None:
            raise ModelNotFound(f"The model {name!r} does not exist. {self._hint(name)}", param="model")
        return self._specs[target]

    def default_name(self, kind: Kind) -> str | None:
        return self._defaults.embedding if kind == "embedding" else self._defaults.reranker

    def default(self, kind: Kind) -> Spec:
        """The model meant where a request names none."""
        name = self.default_name(kind)
        if name is None:
            raise ModelNotFound(f"Name a `model`: this server has no default {kind} model.", param="model")
        return self.find(name)

    def _folded(self) -> dict[str, str]:
        return {name.casefold(): target for name, target in self._names.items()}

    def _hint(self, name: str) -> str:
        folded_name, folded = name.casefold(), self._folded()
        close = difflib.get_close_matches(folded_name, folded, n=3, cutoff=0.5)
        if close:
            alike = [difflib.SequenceMatcher(None, other, folded_name).ratio() for other in close]
            meant = dict.fromkeys(folded[n] for n, ratio in zip(close, alike, strict=True) if ratio > alike[0] - 0.1)
            return f"Did you mean {' or '.join(map(repr, meant))}?"
        return f"Models here: {', '.join(sorted(self._specs))}."


def _all_names(file: _File) -> dict[str, str]:
    """Name → the model's own. A hub id stands back behind a name that somebody gave."""
    names = {name: spec.name for spec in file.models for name in (spec.name, *spec.aliases)}
    for spec in file.models:
        if spec.source.hub:
            names.setdefault(spec.source.hub, spec.name)
    return names | {alias: names[target] for alias, target in file.aliases.items()}


def registry_path(setting: Path | None) -> Path:
    """The file that `--models` names; else the one in the working directory; else the one shipped with the package."""
    if setting is not None:
        return setting
    if LOCAL_FILE.is_file():
        return LOCAL_FILE
    shipped = Path(str(files("sekisho").joinpath("data/models.yaml")))
    return shipped if shipped.is_file() else Path(__file__).parents[3] / LOCAL_FILE


def load_registry(path: Path) -> Registry:
    """Raises RegistryInvalid, naming file, line, key and expectation."""
    document = LocatedYaml.read(path)
    try:
        file = _File.model_validate(document.data)
    except ValidationError as error:
        raise RegistryInvalid(document.explain(error, _known_keys)) from None
    _check_names(file, document)
    return Registry(file, path.parent.resolve())


def _known_keys(location: Location) -> Iterable[str]:
    """The keys of the model that validates `location`, found by walking the field types from the top."""
    current: type[BaseModel] = _File
    for part in location:
        if isinstance(part, str) and part in current.model_fields:
            current = next(_models_in(current.model_fields[part].annotation), current)
    return current.model_fields


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _check_names(file: _File, document: LocatedYaml) -> None:
    """Each name leads to one model, and every alias and default to an existing one."""
    owners: dict[str, str] = {}
    for index, spec in enumerate(file.models):
        for name in dict.fromkeys((spec.name, *spec.aliases)):
            if name in owners:
                raise RegistryInvalid(document.at(("models", index, "name"), f"the name {name!r} is given twice"))
            owners[name] = spec.name
    for alias, meant in file.aliases.items():
        if alias in owners and owners[alias] != owners.get(meant):
            raise RegistryInvalid(document.at(("aliases", alias), f"the name {alias!r} is given twice"))
    owners |= {spec.source.hub: spec.name for spec in file.models if spec.source.hub}
    targets: list[tuple[tuple[str | int, ...], str | None]] = [
        (("defaults", "embedding"), file.defaults.embedding),
        (("defaults", "reranker"), file.defaults.reranker),
        *(((("aliases", alias)), target) for alias, target in file.aliases.items()),
    ]
    for location, target in targets:
        if target is not None and target not in owners:
            close = difflib.get_close_matches(target, owners, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise RegistryInvalid(document.at(location, f"no model is called {target!r}{hint}"))


def describe(spec: Spec) -> dict[str, Any]:
    """A spec as plain values for people and JSON."""
    return spec.model_dump(mode="json", exclude_defaults=False)
