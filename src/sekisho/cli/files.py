"""`sekisho pull`, `verify` and `lock`: the files that models are made of."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sekisho.assemble import Catalog, open_catalog, plan
from sekisho.catalog.lockfile import Lock, load_lock, lock_path, write_lock
from sekisho.catalog.registry import Spec
from sekisho.cli.console import Failed, Results, out, progress
from sekisho.cli.options import All, AsJson, ModelsFile, Names, chosen, elsewhere, settings_from
from sekisho.errors import ModelUnpinned, SekishoError, SourceUnreachable
from sekisho.settings import Settings


def pull(names: Names = None, every: All = False, models: ModelsFile = None, as_json: AsJson = False) -> None:
    """Fetch, verify and convert models, so that serving them needs no network and no time."""
    settings = settings_from(models=models)
    catalog = open_catalog(settings)
    results = Results("ready", as_json=as_json)
    for spec in _meant(catalog, names, results, every=every):
        results.add(_pulled(settings, catalog, spec, named=not every, quiet=as_json))
    results.end()


def _pulled(settings: Settings, catalog: Catalog, spec: Spec, *, named: bool, quiet: bool) -> dict[str, Any]:
    """Prepare one model, and measure how it runs best here unless that is known."""
    try:
        with progress(quiet) as bars:
            prepared = catalog.preparer.prepare(spec, bars.show)
            tuning = plan(settings, spec, prepared, "unsure").tuning
    except ModelUnpinned as error:
        return _failed(spec, error) if named else _skipped(spec, error.message)
    except SekishoError as error:
        return _failed(spec, error)
    ready = {"model": spec.name, "ok": True, "seconds": round(prepared.seconds, 2)}
    return ready if tuning is None else ready | {"lanes": str(tuning)}


def verify(names: Names = None, models: ModelsFile = None, as_json: AsJson = False) -> None:
    """Hash what is on disk again: models' files against the lock, and what was prepared from them.

    Without names: whatever is here.
    """
    catalog = open_catalog(settings_from(models=models))
    results = Results("verified", as_json=as_json)
    for spec in _meant(catalog, names, results, every=not names):
        results.add(_verified(catalog, spec, named=bool(names)))
    results.end()


def _verified(catalog: Catalog, spec: Spec, *, named: bool) -> dict[str, Any]:
    """Without the network. A prepared model that is whole needs its files no longer."""
    whole = False
    try:
        whole = catalog.preparer.find(spec) is not None
        files = len(catalog.artifacts.verified(spec, catalog.lock.models.get(spec.name), fetch=False))
    except SourceUnreachable as error:
        if not whole:
            return _failed(spec, error) if named else _skipped(spec, f"not here; `sekisho pull {spec.name}` fetches it")
        files = 0
    except ModelUnpinned as error:
        return _failed(spec, error) if named else _skipped(spec, error.message)
    except SekishoError as error:
        return _failed(spec, error)
    prepared = "whole" if whole else "not prepared, or damaged and made anew on next use"
    return {"model": spec.name, "ok": True, "files": files, "prepared": prepared}


def lock(
    names: Names = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit to pin one hub model at; resolved to its full commit")
    ] = None,
    models: ModelsFile = None,
) -> None:
    """Pin models: write size and sha256 of every file they need into models.lock.

    Without names: every model whose files can be pinned.
    """
    catalog = open_catalog(settings_from(models=models))
    results = Results("locked", as_json=False)
    specs = _meant(catalog, names, results, every=not names)
    if revision is not None and (len(specs) != 1 or specs[0].source.hub is None):
        raise Failed("--revision pins one model from a hub: name it")
    for spec in specs:
        locked = _locked(catalog, spec, revision, named=bool(names))
        results.add(locked, f"locked {spec.name}: {locked.get('files')} files")
        if (found := locked.get("revision", spec.source.revision)) != spec.source.revision:
            out.print(
                f"write into {catalog.path}, under `source` of {spec.name!r}:\n      revision: {found}",
                highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip
    results.end()


def _locked(catalog: Catalog, spec: Spec, revision: str | None, *, named: bool) -> dict[str, Any]:
    """Lock and write one model."""
    if not spec.pinned and revision is None:
        advice = f"give its `source` a full commit in {catalog.path}, which `sekisho lock {spec.name} --revision main`"
        problem = f"{spec.name!r} names no revision: {advice} finds"
        return {"model": spec.name, "ok": False, "error": problem} if named else _skipped(spec, problem)
    try:
        with progress(quiet=False) as bars:
            locked = catalog.artifacts.lock(spec, revision, bars.show)
    except SekishoError as error:
        return _failed(spec, error)
    # Read anew and written model by model: a failure later on, or another `sekisho lock`, loses nothing.
    known = {spec.name for spec in catalog.registry}
    there = load_lock(lock_path(catalog.path)).models
    kept = {name: model for name, model in there.items() if name in known} | {spec.name: locked}
    write_lock(lock_path(catalog.path), Lock(models=kept))
    return {"model": spec.name, "ok": True, "files": len(locked.files), "revision": locked.revision}


def _meant(catalog: Catalog, names: list[str] | None, results: Results, *, every: bool) -> list[Spec]:
    """The models a command is about; those it passes by, being asked for all, are told."""
    if every:
        for spec in catalog.registry:
            if (where := elsewhere(spec)) is not None:
                results.add(_skipped(spec, where))
    return chosen(catalog, names, every=every)


def _failed(spec: Spec, error: SekishoError) -> dict[str, Any]:
    return {"model": spec.name, "ok": False, "error": error.message}


def _skipped(spec: Spec, reason: str) -> dict[str, Any]:
    return {"model": spec.name, "ok": None, "skipped": reason}
