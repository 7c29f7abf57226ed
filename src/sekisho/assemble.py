"""Builds the parts once and hands them out; nothing else constructs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sekisho.catalog.artifacts import Artifacts
from sekisho.catalog.lockfile import Lock, load_lock, lock_path
from sekisho.catalog.prepare import Preparer
from sekisho.catalog.registry import Registry, Spec, load_registry, refuse_unserved, registry_path
from sekisho.engine.batching import Limits
from sekisho.engine.engine import Engine, LocalEngine
from sekisho.engine.pool import Pool
from sekisho.engine.scheduler import Scheduler
from sekisho.runtime.load import load_model
from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import choose
from sekisho.service.embed import EmbedService
from sekisho.service.rerank import RerankService
from sekisho.settings import Settings


@dataclass(frozen=True)
class Catalog:
    """What exists on disk, for the commands that run no model."""

    path: Path
    registry: Registry
    lock: Lock
    artifacts: Artifacts
    preparer: Preparer


@dataclass(frozen=True)
class Parts:
    """A whole Sekisho, for the server and for one-off commands."""

    settings: Settings
    catalog: Catalog
    pool: Pool
    embed: EmbedService
    rerank: RerankService


def open_catalog(settings: Settings) -> Catalog:
    """Raises RegistryInvalid."""
    if settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # the hub's own library reads it too
    path = registry_path(settings.models)
    registry, lock = load_registry(path), load_lock(lock_path(path))
    artifacts = Artifacts(registry.directory, offline=settings.offline)
    return Catalog(path, registry, lock, artifacts, Preparer(settings.home, artifacts, lock))


def assemble(settings: Settings) -> Parts:
    """Raises RegistryInvalid. Loads no model: that happens on first use."""
    catalog = open_catalog(settings)
    tokenizing = ThreadPoolExecutor(max_workers=this_machine().cores, thread_name_prefix="sekisho-tokenize")

    def load(spec: Spec) -> Engine:
        refuse_unserved(spec)
        prepared = catalog.preparer.prepare(spec)
        choice = choose(this_machine(), settings.engine, spec.precision, settings.threads)
        model = load_model(prepared.directory, prepared.contract, choice)
        limits = Limits(batch_tokens=settings.batch_tokens)
        scheduler = Scheduler(spec.name, model, limits, settings.max_queue_tokens)
        return LocalEngine(model, scheduler, tokenizing, settings.max_request_tokens)

    pool = Pool(load, settings.load_retry_seconds)
    registry = catalog.registry
    return Parts(settings, catalog, pool, EmbedService(registry, pool), RerankService(registry, pool))
