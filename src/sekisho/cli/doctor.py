"""`sekisho doctor`: what this machine has, and how each model would run on it."""

from __future__ import annotations

import json
import shutil
from typing import Any

from rich.table import Table

from sekisho.assemble import Catalog, open_catalog
from sekisho.catalog.registry import Upstream
from sekisho.cli.console import out, print_table
from sekisho.cli.explain import state
from sekisho.cli.options import AsJson, ModelsFile, settings_from
from sekisho.runtime.machine import this_machine
from sekisho.runtime.select import choose
from sekisho.settings import Settings, secret


def doctor(models: ModelsFile = None, as_json: AsJson = False) -> None:
    """What this machine has, and how each model would run on it."""
    settings = settings_from(models=models)
    catalog = open_catalog(settings)
    report = _diagnose(settings, catalog)
    if as_json:
        out.print_json(json.dumps(report, default=str))
        return
    machine = Table(title="machine", title_justify="left", show_header=False)
    for key, value in report["machine"].items():
        machine.add_row(key, str(value))
    print_table(machine)
    table = Table(title="models", title_justify="left")
    for heading in ("model", "state", "graph", "engine", "precision", "lanes × threads", "why"):
        table.add_column(heading, overflow="fold")
    # Many models share a reason, and it is a sentence.
    reasons = list(dict.fromkeys(row["why"] for row in report["models"]))
    for row in report["models"]:
        table.add_row(
            row["model"], row["state"], row["graph"], row["engine"], row["precision"], row["threads"],
            str(reasons.index(row["why"]) + 1),
        )  # fmt: skip
    print_table(table)
    for number, reason in enumerate(reasons, 1):
        out.print(f"{number}: {reason}", highlight=False, markup=False, soft_wrap=True)


def _diagnose(settings: Settings, catalog: Catalog) -> dict[str, Any]:
    machine = this_machine()
    free = shutil.disk_usage(next(p for p in (settings.home, *settings.home.parents) if p.exists())).free
    models = []
    for spec in catalog.registry:
        if spec.upstream is not None:
            models.append(_elsewhere(spec.name, spec.upstream))
            continue
        condition = state(catalog, spec)
        prepared = catalog.preparer.find(spec) if condition == "prepared" else None
        contract = prepared.contract if prepared is not None else None
        choice = choose(machine, settings.engine, spec.precision, settings.threads, contract)
        models.append(
            {
                "model": spec.name,
                "state": condition,
                "graph": catalog.artifacts.graph(spec).onnx or "made here",
                "engine": choice.engine,
                "precision": choice.precision,
                "threads": f"{choice.lanes} × {choice.threads}",
                "why": choice.reason,
            }
        )
    return {
        "machine": {
            "processor": f"{machine.processor} ({machine.architecture})",
            "cores we may use": machine.cores,
            "the CPU computes in": ", ".join(sorted(machine.formats)) or "unknown without OpenVINO",
            "ONNX Runtime": machine.onnxruntime,
            "OpenVINO": machine.openvino or "not installed",
            "registry": str(catalog.path),
            "cache": f"{settings.home} ({free // 2**30:,} GiB free)",
            "network": "fetches no model file (offline)"
            if settings.offline
            else "used for models that are not here yet",
        },
        "models": models,
    }


def _elsewhere(name: str, upstream: Upstream) -> dict[str, Any]:
    """Nothing is asked of the service: it may bill, and it may be down."""
    places = ", ".join(upstream.base_url)
    key = "no key"
    if upstream.key_env is not None:
        key = f"{upstream.key_env} is {'set' if secret(upstream.key_env) is not None else 'not set'}"
    return {
        "model": name,
        "state": "upstream",
        "graph": "",
        "engine": upstream.api,
        "precision": "",
        "threads": f"{upstream.concurrency} calls",
        "why": f"served at {places}; {key}",
    }
