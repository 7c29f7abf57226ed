"""Builds the parts once and hands them out; nothing else constructs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from sekisho.catalog.artifacts import Artifacts
from sekisho.catalog.lockfile import Lock, load_lock, lock_path
from sekisho.catalog.own_graph import NAME, own_graph
from sekisho.catalog.prepare import Prepared, Preparer
from sekisho.catalog.registry import Registry, Spec, load_registry, registry_path
from sekisho.catalog.variants import Processor
from sekisho.contract import DYNAMIC_INT8, Contract, Passage, Rows
from sekisho.convert.proving import Run
from sekisho.engine.batching import Limits, yielding_tokens
from sekisho.engine.cached import CachedEngine
from sekisho.engine.cached_upstream import CachedUpstream
from sekisho.engine.cores import Cores
from sekisho.engine.engine import Engine, LocalEngine
from sekisho.engine.memory_store import MemoryStore
from sekisho.engine.pool import Pool
from sekisho.engine.redis_store import RedisStore
from sekisho.engine.remote import RemoteEngine
from sekisho.engine.result_key import Keys, local_identity, upstream_identity
from sekisho.engine.result_store import ResultStore
from sekisho.engine.scheduler import Scheduler
from sekisho.engine.wide import Wide
from sekisho.errors import ConversionFailed
from sekisho.observability import logger
from sekisho.runtime.accelerators import Accelerators, find_accelerators
from sekisho.runtime.batch_cost import BatchCost
from sekisho.runtime.device import CPU, Device, device_named
from sekisho.runtime.load import load_again, load_model
from sekisho.runtime.machine import cpu_flags, this_machine
from sekisho.runtime.model import LocalModel, Model
from sekisho.runtime.placing import Placement, place
from sekisho.runtime.select import Choice, batch_tokens, choose, halves
from sekisho.runtime.tuned import Plan, stored, tuned
from sekisho.runtime.tuning import Tuning
from sekisho.service.embed import EmbedService
from sekisho.service.rerank import RerankService
from sekisho.service.token_vectors import TokenVectorService
from sekisho.service.tokens import TokenService
from sekisho.settings import MIB, Settings, secret

log = logger(__name__)

When = Literal["never", "missing", "unsure"]

#: Texts a batch while int8 is measured.
_GATE_ROWS = 16
#: Waiting texts from which a card's batch is chosen: its batches hold hundreds of short ones.
_DEVICE_WINDOW = 2048
#: Tokens that a card could have read while a batch's kernels, hundreds of them, are started: about a millisecond.
_DEVICE_START = 512.0


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
    results: ResultStore | None = None

    async def close(self) -> None:
        """Unload every model, and let go of what is kept of their results."""
        await self.pool.close()
        if self.results is not None:
            await self.results.close()


def open_catalog(settings: Settings) -> Catalog:
    """Raises RegistryInvalid."""
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the hub's own library reads it too
    path = registry_path(settings.models)
    registry, lock = _as_set(load_registry(path), settings), load_lock(lock_path(path))
    artifacts = Artifacts(registry.directory, offline=settings.offline, processor=_this_processor)
    return Catalog(path, registry, lock, artifacts, _preparer(settings, artifacts, lock))


def _preparer(settings: Settings, artifacts: Artifacts, lock: Lock) -> Preparer:
    def in_half(spec: Spec) -> bool:
        return halves(spec.precision, placement(settings.device))

    return Preparer(settings.home, artifacts, lock, gate_run(settings), in_half)


@cache
def placement(device: str) -> Placement:
    """Where models run under that setting. Raises InternalError where the device asked for cannot be used."""
    asked = device_named(device)
    return place(asked, Accelerators() if asked == CPU else find_accelerators())


def gate_run(settings: Settings) -> Run:
    """How int8 and fp16 are measured here: beside the CPU's fp32 of ONNX Runtime, on the engine they are meant for."""

    def run(directory: Path, contract: Contract, passages: Sequence[Passage], served: bool, alone: bool) -> Rows:
        machine = this_machine()
        if contract.numbers == "half":
            choice = choose(machine, "auto", "fp16", settings.threads, contract, placement(settings.device))
            return _rows(load_model(directory, contract, choice, device_memory(settings)), passages, alone=alone)
        if contract.numbers == "int8" and machine.openvino is None:
            raise ConversionFailed(
                "int8 runs on OpenVINO, which is not installed: `pip install 'sekisho[openvino]'`, or leave "
                "`precision` at auto"
            )
        choice = choose(
            machine, "auto" if served else "onnxruntime", "int8" if served else "fp32", settings.threads, contract
        )
        return _rows(load_model(directory, contract, choice), passages, alone=alone)

    return run


def _rows(model: Model, passages: Sequence[Passage], *, alone: bool) -> Rows:
    """The first output for each passage, in batches of neighbours in length or one by one; the model is closed."""
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


def device_memory(settings: Settings) -> int | None:
    """In bytes."""
    return None if settings.device_memory_mib is None else settings.device_memory_mib * MIB


def plan(settings: Settings, spec: Spec, prepared: Prepared, when: When = "missing") -> Plan:
    """Engine and lanes of a prepared model, by what was measured of it here; where that is `missing`, it is measured.

    when: `never`: nothing is measured now; `unsure`: also where the machine was too busy the last time.

    Raises InternalError where an engine or a device is asked for that is not there.
    """
    machine, contract = this_machine(), _shortened(prepared.contract, settings.max_length)
    where = placement(settings.device)
    choice = choose(machine, settings.engine, spec.precision, settings.threads, contract, where)
    if settings.tune == "off":
        return Plan(choice, None)
    cores = settings.threads or machine.cores
    if when == "never":
        return stored(prepared.directory, contract, choice, machine, cores)
    return tuned(prepared.directory, contract, choice, machine, cores, again=when == "unsure")


def _limits(settings: Settings, device: Device, tuning: Tuning | None, *, packed: bool) -> Limits:
    """A card runs few large batches. Its figures are estimates, which no card was there to try."""
    tokens = batch_tokens(settings.batch_tokens, device)
    if device.kind not in {"cuda", "migraphx"}:
        if tuning is None:
            return Limits(tokens, cost=BatchCost.usual(packed=packed))
        cost = tuning.cost(packed=packed)
        return Limits(tokens, yielding_tokens=yielding_tokens(tuning.tokens_per_second, cost), cost=cost)
    cost = BatchCost.usual(packed=packed, fixed=_DEVICE_START)
    return Limits(tokens, yielding_tokens=max(tokens // 4, 1), cost=cost, window=_DEVICE_WINDOW)


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
    """Raises RegistryInvalid, or InternalError for a device that cannot be used. Models are loaded on first use."""
    catalog = open_catalog(settings)
    _tell_placement(placement(settings.device))
    tokenizing = ThreadPoolExecutor(max_workers=this_machine().cores, thread_name_prefix="sekisho-tokenize")
    results = _results(settings)
    cores = Cores(settings.threads or this_machine().cores)

    def load(spec: Spec) -> Engine:
        if spec.upstream is not None:
            key = secret(spec.upstream.key_env) if spec.upstream.key_env is not None else None
            remote = RemoteEngine(spec, spec.upstream, key.get_secret_value().strip() if key is not None else None)
            if results is None:
                return remote
            return CachedUpstream(spec.name, remote, results, Keys(upstream_identity(spec), elsewhere=True))
        prepared = catalog.preparer.prepare(spec)
        contract = _shortened(prepared.contract, settings.max_length)
        if contract.numbers == "dynamic_int8":
            log.warning("batch_dependent", model=spec.name, graph=contract.graph, reason=DYNAMIC_INT8)
        planned = plan(settings, spec, prepared)
        choice = planned.choice
        model = load_model(prepared.directory, contract, choice, device_memory(settings))
        limits = _limits(settings, choice.device, planned.tuning, packed=contract.packed)
        threads = choice.threads if choice.device == CPU else 0
        wide = _wide(spec.name, model, prepared.directory, planned.wide)
        scheduler = Scheduler(spec.name, model, limits, settings.max_queue_tokens, cores, threads, wide)
        local = LocalEngine(model, scheduler, tokenizing, settings.max_request_tokens)
        if results is None:
            return local
        keys = Keys(local_identity(contract, choice, this_machine()))
        return CachedEngine(spec.name, local, results, keys, settings.max_request_tokens)

    pool = Pool(load, settings.load_retry_seconds)
    registry = catalog.registry
    services = EmbedService(registry, pool), RerankService(registry, pool), TokenVectorService(registry, pool)
    return Parts(settings, catalog, pool, *services, TokenService(registry, pool), results)


def _wide(name: str, model: LocalModel, directory: Path, choice: Choice | None) -> Wide | None:
    return None if choice is None else Wide(name, lambda: load_again(model, directory, choice), choice.threads)


def _tell_placement(where: Placement) -> None:
    """A card that is used, or is there and is not: on its machine nobody wants the CPU. Else there is nothing to tell,
    and `sekisho doctor` says what other devices would need.
    """
    if where.device != CPU:
        log.info("device", device=str(where.device), reason=where.reason)
    elif where.passed_over and find_accelerators().nvidia:
        log.warning("device", device=str(where.device), reason=where.reason, passed_over=where.passed_over)


def _results(settings: Settings) -> ResultStore | None:
    """Where results are kept; None where none are. Raises InternalError for a Redis that cannot be asked at all."""
    if not settings.cache_mib:
        return None
    url, seconds = settings.redis_url, settings.cache_seconds
    redis = RedisStore(url.get_secret_value(), seconds) if url is not None else None
    return ResultStore(MemoryStore(int(settings.cache_mib * MIB)), redis, seconds)


def _shortened(contract: Contract, most: int | None) -> Contract:
    return contract if most is None else replace(contract, max_tokens=min(contract.max_tokens, most))
