"""Logs as events with fields, and the Prometheus metrics of the whole process."""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from typing import Any, cast

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from sekisho.settings import Settings

#: A cached MiniLM vector takes a millisecond, a page through a large model seconds.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

REQUESTS = Counter("sekisho_requests_total", "HTTP requests answered", ("route", "status"))
REQUEST_SECONDS = Histogram("sekisho_request_seconds", "Time to answer an HTTP request", ("route",), buckets=_SECONDS)
STAGE_SECONDS = Histogram(
    "sekisho_stage_seconds", "Time of one stage of a request", ("model", "stage"), buckets=_SECONDS
)
TOKENS = Counter("sekisho_tokens_total", "Tokens run, special tokens included", ("model",))
PADDED_TOKENS = Counter("sekisho_padded_tokens_total", "Tokens run, padding included", ("model",))
ATTENTION_PLACES = Counter(
    "sekisho_attention_places_total", "Places that attention was run over: rows × the longest of each batch", ("model",)
)
BATCHES = Counter("sekisho_batches_total", "Batches run", ("model",))
WIDE_BATCHES = Counter("sekisho_wide_batches_total", "Of these, on several cores as no other wanted them", ("model",))
BATCH_ROWS = Histogram(
    "sekisho_batch_rows",
    "Texts in a batch",
    ("model",),
    buckets=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256),
)
TRUNCATED = Counter("sekisho_truncated_total", "Texts cut to the model's length", ("model",))
DROPPED = Counter("sekisho_dropped_total", "Texts whose client had gone before they were run", ("model",))
REFUSED = Counter("sekisho_refused_total", "Requests refused because the queue was full", ("model",))
QUEUE_TOKENS = Gauge("sekisho_queue_tokens", "Tokens waiting", ("model",), multiprocess_mode="livesum")
LOADED = Gauge(
    "sekisho_model_loaded", "Server processes that have the model in memory", ("model",), multiprocess_mode="livesum"
)
LOADS = Counter("sekisho_loads_total", "Attempts to load a model", ("model", "outcome"))
LOAD_SECONDS = Gauge("sekisho_load_seconds", "How long the last load took", ("model",), multiprocess_mode="mostrecent")
LANE_FAILURES = Counter("sekisho_lane_failures_total", "Batches that raised", ("model",))
UPSTREAM_CALLS = Counter(
    "sekisho_upstream_calls_total", "Attempts at calls to another service", ("model", "replica", "outcome")
)
UPSTREAM_SECONDS = Histogram(
    "sekisho_upstream_seconds", "Time of one attempt at a call to another service", ("model",), buckets=_SECONDS
)
UPSTREAM_OPEN = Gauge(
    "sekisho_upstream_open", "1 while a replica that failed repeatedly is left alone", ("model", "replica"),
    multiprocess_mode="livemax",
)  # fmt: skip
CACHE_HITS = Counter("sekisho_cache_hits_total", "Texts whose result was kept", ("model",))
CACHE_MISSES = Counter("sekisho_cache_misses_total", "Texts computed because no result was kept", ("model",))
CACHE_JOINED = Counter("sekisho_cache_joined_total", "Texts computed once with an equal one in flight", ("model",))
CACHE_BYTES = Gauge("sekisho_cache_bytes", "Memory that kept results take", multiprocess_mode="livesum")
CACHE_EVICTED = Counter("sekisho_cache_evicted_total", "Results dropped from memory to make room")
CACHE_ERRORS = Counter("sekisho_cache_errors_total", "Failures of the shared cache, which no request sees", ("reason",))
WORKERS = Gauge("sekisho_workers", "Server processes that take requests", multiprocess_mode="livesum")
WORKER_RESTARTS = Counter("sekisho_worker_restarts_total", "Server processes started in place of one that ended")


@lru_cache
def stage_seconds(model: str) -> tuple[Histogram, Histogram, Histogram]:
    """Of waiting, tokenising and running. Finding a metric by its labels costs more than counting in it."""
    queue, tokenize, inference = (STAGE_SECONDS.labels(model, stage) for stage in ("queue", "tokenize", "inference"))
    return queue, tokenize, inference


def exposition() -> bytes:
    """Every metric in Prometheus' text form: of this process, or of all workers where there are several."""
    shared = CollectorRegistry()
    try:
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    except ValueError:  # PROMETHEUS_MULTIPROC_DIR, by which prometheus_client keeps values in files, is not set
        return generate_latest(REGISTRY)
    return generate_latest(shared)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events are `log.info("loaded", model=…, seconds=…)`."""
    return cast("structlog.stdlib.BoundLogger", structlog.get_logger(name))


def configure_logging(settings: Settings) -> None:
    """Send our events and those of the libraries to stderr in one format."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Never with local variables: they hold texts and keys.
    renderers: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if settings.log_format == "json"
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[*shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(max(level, logging.WARNING))
