"""`sekisho doctor`: what this machine has, and how each model would run on it."""

from __future__ import annotations

import json
import shutil
from typing import Any

from rich.markup import escape
from rich.table import Table

from sekisho.assemble import Catalog, open_catalog, placement, plan
from sekisho.catalog.registry import Upstream
from sekisho.cli.console import out, print_table
from sekisho.cli.explain import state
from sekisho.cli.options import AsJson, ModelsFile, settings_from
from sekisho.errors import InternalError
from sekisho.runtime.accelerators import find_accelerators
from sekisho.runtime.device import CPU, PROVIDERS, Device
from sekisho.runtime.machine import this_machine
from sekisho.runtime.placing import ON_CPU, Placement, why_not
from sekisho.runtime.select import choose
from sekisho.runtime.tuned import Plan
from sekisho.settings import Settings, secret


def doctor(models: ModelsFile = None, as_json: AsJson = False) -> None:
    """What this machine has, and how each model would run on it."""
    settings = settings_from(models=models)
    where, told = _placed(settings)
    if where == ON_CPU:  # also where the device asked for cannot be used: the rest can be told all the same
        settings = settings.model_copy(update={"device": "cpu"})
    report = _diagnose(settings, open_catalog(settings), where, told)
    if as_json:
        out.print_json(json.dumps(report, default=str))
        return
    machine = Table(title="machine", title_justify="left", show_header=False)
    for key, value in report["machine"].items():
        machine.add_row(key, escape(str(value)))
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
    for row in report["models"]:
        if row["measured"] is not None:
            out.print(f"{row['model']}: {row['measured']}", highlight=False, markup=False, soft_wrap=True)


def _placed(settings: Settings) -> tuple[Placement, str]:
    """Where models run, and why; a device that was asked for and cannot be used is what a doctor is asked about."""
    try:
        where = placement(settings.device)
    except InternalError as error:
        return ON_CPU, error.message
    return where, f"{where.device}: {where.reason}"


def _diagnose(settings: Settings, catalog: Catalog, where: Placement, told: str) -> dict[str, Any]:
    machine = this_machine()
    free = shutil.disk_usage(next(p for p in (settings.home, *settings.home.parents) if p.exists())).free
    models = []
    for spec in catalog.registry:
        if spec.upstream is not None:
            models.append(_elsewhere(spec.name, spec.upstream))
            continue
        condition = state(catalog, spec)
        prepared = catalog.preparer.find(spec) if condition == "prepared" else None
        planned = plan(settings, spec, prepared, "never") if prepared is not None else None
        choice = (
            planned.choice
            if planned is not None
            else choose(machine, settings.engine, spec.precision, settings.threads, None, where)
        )
        models.append(
            {
                "model": spec.name,
                "state": condition,
                "graph": catalog.artifacts.graph(spec).onnx or "made here",
                "engine": choice.engine if choice.device == CPU else f"{choice.engine}, {choice.device}",
                "precision": choice.precision,
                "threads": f"{choice.lanes} × {choice.threads}",
                "measured": None if planned is None else _measured(settings, planned),
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
            "device": told,
            **_devices(),
            "registry": str(catalog.path),
            "cache": f"{settings.home} ({free // 2**30:,} GiB free)",
            "network": "fetches no model file (offline)"
            if settings.offline
            else "used for models that are not here yet",
        },
        "models": models,
    }


def _measured(settings: Settings, planned: Plan) -> str | None:
    """What is known of a prepared model's lanes; None on a device, where there is nothing to choose."""
    if planned.choice.device != CPU:
        return None
    if settings.tune == "off":
        return "lanes by a rule, as SEKISHO_TUNE is off"
    return str(planned.tuning or "lanes not measured yet: `sekisho pull` does it, or the first load")


def _devices() -> dict[str, str]:
    """Each device beside the CPU: what it is, or why it cannot be used."""
    found = find_accelerators()
    told: dict[str, str] = {kind: why_not(Device(kind), found) or "can be used" for kind in PROVIDERS if kind != "cpu"}
    for index, card in enumerate(found.cards):
        major, minor = card.capability
        told |= {str(Device("cuda", index)): f"{card.name}, {card.memory // 2**20:,} MiB, compute {major}.{minor}"}
    return told


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
        "measured": None,
        "why": f"served at {places}; {key}",
    }
