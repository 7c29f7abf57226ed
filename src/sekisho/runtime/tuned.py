"""A choice of engine → the same with the lanes that were measured for this model on this machine."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from sekisho.contract import GRAPH_FILE, WEIGHTS_FILE, Contract
from sekisho.errors import SekishoError
from sekisho.observability import logger
from sekisho.runtime.device import CPU
from sekisho.runtime.free_memory import free_memory
from sekisho.runtime.load import load_model
from sekisho.runtime.machine import Machine, cpu_quota
from sekisho.runtime.measuring import measure
from sekisho.runtime.model import Model
from sekisho.runtime.select import Choice
from sekisho.runtime.tuning import Split, Tuning, candidates
from sekisho.runtime.tuning_store import Conditions, read_tuning, write_tuning

log = logger(__name__)

#: Two models that are measured at once would measure each other.
_ONE_AT_A_TIME = threading.Lock()
#: What a second copy takes: its weights, mapped and in the engine's own order, and what it computes.
_COPIES = 2
_COMPUTED = 512 * 1024 * 1024
#: A second copy that stays is at most this part of what is free.
_SPARED = 8
#: Weights that may be there twice where the system does not tell what is free.
_SMALL = 256 * 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """choice: as it is to be loaded; tuning: None where nothing was measured and lanes are as a rule says.

    wide: how the model is loaded once more, for a batch that has several cores for itself; None where it is not, as
    where its weights are more than a part of what is free.
    """

    choice: Choice
    tuning: Tuning | None
    wide: Choice | None = None


def stored(directory: Path, contract: Contract, choice: Choice, machine: Machine, cores: int) -> Plan:
    """With what was measured before, if anything was. cores: those that inference may use."""
    tuning = read_tuning(directory, conditions(contract, choice, machine, cores))
    if tuning is None:
        return Plan(choice, None)
    wide = None
    if tuning.wide and _spare(directory):
        wide = replace(choice, lanes=max(1, cores // tuning.wide), threads=tuning.wide)
    return Plan(replace(choice, lanes=tuning.lanes, threads=tuning.threads), tuning, wide)


def tuned(
    directory: Path, contract: Contract, choice: Choice, machine: Machine, cores: int, *, again: bool = False
) -> Plan:
    """As `stored`, but measured now where it was not, for some seconds. Never an error: loading will say what is wrong.

    Where it could not be kept it is not measured either: at each start it would cost more than it brings.

    again: also where the machine was too busy to tell.
    """

    def enough(plan: Plan) -> bool:
        return choice.device != CPU or (plan.tuning is not None and (plan.tuning.settled or not again))

    found = stored(directory, contract, choice, machine, cores)
    if enough(found):
        return found
    if not os.access(directory, os.W_OK):
        log.warning("not_tuned", model=directory.parent.name, reason="the prepared model's directory is read-only")
        return found
    with _ONE_AT_A_TIME:
        found = stored(directory, contract, choice, machine, cores)  # by whoever was first
        if not enough(found):
            _measure(directory, contract, choice, machine, cores)
    return stored(directory, contract, choice, machine, cores)


def _measure(directory: Path, contract: Contract, choice: Choice, machine: Machine, cores: int) -> None:
    def load(split: Split) -> Model:
        return load_model(directory, contract, replace(choice, lanes=split.lanes, threads=split.threads))

    splits = candidates(cores, Split(choice.lanes, choice.threads))
    try:
        tuning = measure(load, splits, contract, lambda: _room(directory), wide=_spare(directory))
        write_tuning(directory, conditions(contract, choice, machine, cores), tuning)
    except SekishoError as error:
        log.warning("not_tuned", model=directory.parent.name, reason=error.message)
    except OSError as error:
        log.warning("not_tuned", model=directory.parent.name, reason=error.strerror)
    else:
        log.info("tuned", model=directory.parent.name, figures=str(tuning))


def _room(directory: Path) -> bool:
    """Whether a second copy of the model fits beside the first."""
    weights, free = _weights(directory), free_memory()
    return weights <= _SMALL if free is None else _COPIES * weights + _COMPUTED <= free


def _spare(directory: Path) -> bool:
    """Whether the model may stay in memory twice."""
    weights, free = _weights(directory), free_memory()
    return weights <= _SMALL if free is None else _SPARED * weights <= free


def _weights(directory: Path) -> int:
    """In bytes."""
    return sum((directory / name).stat().st_size for name in (GRAPH_FILE, WEIGHTS_FILE))


def conditions(contract: Contract, choice: Choice, machine: Machine, cores: int) -> Conditions:
    """What the figures depend on, beside the graph itself."""
    return {
        "processor": machine.processor,
        "architecture": machine.architecture,
        "lanes": choice.lanes,
        "threads": choice.threads,
        "cores": cores,
        "quota": cpu_quota(),
        "device": str(choice.device),
        "engine": choice.engine,
        "version": machine.openvino if choice.engine == "openvino" else machine.onnxruntime,
        "precision": choice.precision,
        "rest": choice.rest,
        "max_tokens": contract.max_tokens,
    }
