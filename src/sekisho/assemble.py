"""Builds the parts once and hands them out; nothing else constructs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from sekisho.catalog.artifacts import Artifacts
from sekisho.catalog.lockfile import Lock, load_lock, lock_path
from sekisho.catalog.own_graph import NAME, own_graph
from sekisho.catalog.prepare import Preparer
from sekisho.catalog.registry import Registry, Spec, load_registry, registry_path
from sekisho.catalog.variants import Processor
from sekisho.contract import DYNAMIC_INT8, Contract, Passage, Rows
from sekisho.convert.proving import Run
from sekisho.engine.batching import Limits
from sekisho.engine.engine import Engine, LocalEngine
from sekisho.engine.pool import Pool
from sekisho.engine.remote import RemoteEngine
from sekisho.engine.scheduler import Scheduler
from sekisho.errors import ConversionFailed
from sekisho.observability import logger
from sekisho.runtime.load import load_model
from sekisho.runtime.machine import cpu_flags, this_machine
from sekisho.runtime.select import choose
from sekisho.service.embed import EmbedService
from sekisho.service.rerank import RerankService
from sekisho.service.token_vectors import TokenVectorService
from sekisho.service.tokens import TokenService
from sekisho.settings import Settings, secret

log = logger(__name__)

#: Texts a batch while int8 is measured.
_GATE_ROWS = 16


@dataclass(frozen=True)
class Catalog:
    """What exists on disk, for the commands that run no model."""

    path: Path
    registry: Registry
    lock: Lock
    artifacts: Artifacts
    preparer: Preparer

    def pinned(self, spec: Spec) -> bool | None:
        """Whether the bytes of its files are settled; None for a model that has no files here."""
        if spec.upstream is not None:
            return None
        locked = self.lock.models.get(spec.name)
        return spec.source.hub is None or (
            locked is not None and spec.pinned and locked.revision == spec.source.revision
        )


@dataclass(frozen=True)
class Parts:
    """A whole Sekisho, for the server and for one-off commands."""

    settings: Settings
    catalog: Catalog
    pool: Pool
    embed: EmbedService
    rerank: RerankService
    token_vectors: TokenVectorService
    tokens: TokenService


def open_catalog(settings: Settings) -> Catalog:
    """Raises RegistryInvalid."""
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the hub's own library reads it too
    path = registry_path(settings.models)
    registry, lock = _as_set(load_registry(path), settings), load_lock(lock_path(path))
    artifacts = Artifacts(registry.directory, offline=settings.offline, processor=_this_processor)
    return Catalog(path, registry, lock, artifacts, Preparer(settings.home, artifacts, lock, gate_run(settings)))


def gate_run(settings: Settings) -> Run:
    """How int8 is measured on this machine: beside ONNX Runtime's fp32, on the engine it is meant for."""

    def run(directory: Path, contract: Contract, passages: Sequence[Passage], served: bool, alone: bool) -> Rows:
        machine = this_machine()
        if machine.openvino is None:
            raise ConversionFailed(
                "int8 runs on OpenVINO, which is not installed: `pip install 'sekisho[openvino]'`, or leave "
                "`precision` at auto"
            )
        choice = choose(
            machine, "auto" if served else "onnxruntime", "int8" if served else "fp32", settings.threads, contract
        )
        model = load_model(directory, contract, choice)
        try:
            tokens = model.encode(passages, "end")
            order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
            step = 1 if alone else _GATE_ROWS
            batches = [order[start : start + step] for start in range(0, len(order), step)]
            first = {
                index: row
                for batch in batches
                for index, row in zip(batch, model.run(0, [tokens[index] for index in batch])[0], strict=True)
            }
            return np.stack([first[index] for index in range(len(tokens))])
        finally:
            model.close()

    return run


def _as_set(registry: Registry, settings: Settings) -> Registry:
    """The registry under the settings that change it. Raises RegistryInvalid."""
    own = own_graph(settings.model_path, settings.tokenizer_path)
    if own is not None:
        registry = registry.adding(own).defaulting("embedding", NAME)
    if settings.embedding_model is not None:
        registry = registry.defaulting("embedding", settings.embedding_model)
    if settings.reranker_model is not None:
        registry = registry.defaulting("reranker", settings.reranker_model)
    return registry


@cache
def _this_processor() -> Processor:
    """Apart from `this_machine`, which imports an engine: a command that lists models needs none."""
    return Processor(platform.machine(), cpu_flags())


def assemble(settings: Settings) -> Parts:
    """Raises RegistryInvalid. Loads no model: that happens on first use."""
    catalog = open_catalog(settings)
    tokenizing = ThreadPoolExecutor(max_workers=this_machine().cores, thread_name_prefix="sekisho-tokenize")

    def load(spec: Spec) -> Engine:
        if spec.upstream is not None:
            key = secret(spec.upstream.key_env) if spec.upstream.key_env is not None else None
            return RemoteEngine(spec, spec.upstream, key.get_secret_value().strip() if key is not None else None)
        prepared = catalog.preparer.prepare(spec)
        contract = _shortened(prepared.contract, settings.max_length)
        if contract.numbers == "dynamic_int8":
            log.warning("batch_dependent", model=spec.name, graph=contract.graph, reason=DYNAMIC_INT8)
        choice = choose(this_machine(), settings.engine, spec.precision, settings.threads, contract)
        model = load_model(prepared.directory, contract, choice)
        limits = Limits(batch_tokens=settings.batch_tokens)
        scheduler = Scheduler(spec.name, model, limits, settings.max_queue_tokens)
        return LocalEngine(model, scheduler, tokenizing, settings.max_request_tokens)

    pool = Pool(load, settings.load_retry_seconds)
    registry = catalog.registry
    services = EmbedService(registry, pool), RerankService(registry, pool), TokenVectorService(registry, pool)
    return Parts(settings, catalog, pool, *services, TokenService(registry, pool))


def _shortened(contract: Contract, most: int | None) -> Contract:
    return contract if most is None else replace(contract, max_tokens=min(contract.max_tokens, most))
