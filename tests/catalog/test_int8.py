"""`precision: int8` when a model is prepared: measured, refused with figures, forced, shown."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sekisho.assemble import assemble, open_catalog
from sekisho.catalog.prepare import Prepared
from sekisho.cli.explain import explain
from sekisho.contract import Contract, Rows
from sekisho.convert.gate import LOWEST, short_of
from sekisho.convert.gate_texts import passages
from sekisho.errors import ConversionFailed
from sekisho.runtime.machine import this_machine
from sekisho.service.embed import EmbedRequest, EmbedService
from sekisho.settings import Settings
from tests.checkpoints_encoders import tiny_encoder, write_tiny_encoder
from tests.checkpoints_int8 import write_outliers
from tests.conftest import REPOSITORY, WriteRegistry
from tests.goldens_io import MINILM, cosines

pytestmark = pytest.mark.skipif(this_machine().openvino is None, reason="int8 runs on OpenVINO")


def prepare(registry: Path, home: Path, **changes: object) -> Prepared:
    """The first model of the registry."""
    catalog = open_catalog(Settings(home=home, models=registry, offline=True))
    spec = next(iter(catalog.registry)).model_copy(update=changes)
    return catalog.preparer.prepare(spec)


@pytest.fixture
def outliers(tmp_path: Path, write_registry: WriteRegistry) -> Path:
    write_outliers(tmp_path / "outliers")
    return write_registry("version: 1\nmodels:\n  - {name: bad, source: {path: outliers}, precision: int8}\n")


def test_the_real_model_passes_and_no_text_sees_its_neighbours(home: Path) -> None:
    parts = assemble(Settings(models=REPOSITORY / "models.yaml", home=home, offline=True))
    registry = parts.catalog.registry.altered(precision="int8")
    embed = EmbedService(registry, parts.pool)

    async def served() -> tuple[Contract, Rows, Rows]:
        asked = ["a quiet street in Kyoto", "京都の静かな通り " * 40, "!"]
        alone = await embed.embed(EmbedRequest(asked[:1], model=MINILM))
        together = await embed.embed(EmbedRequest(asked, model=MINILM))
        async with parts.pool.use(registry.find(MINILM)) as engine:
            contract = engine.contract
        await parts.pool.close()
        return contract, alone.rows, together.rows[:1]

    contract, alone, together = asyncio.run(served())
    assert contract.numbers == "int8"
    assert contract.origins["numbers"] == "models.yaml"
    assert contract.quality is not None
    assert short_of(contract.quality) is None
    assert not contract.quality.forced
    assert 0.5 < contract.quality.cosine_mean < 0.99999, "this is float"
    assert cosines(alone, together) >= 0.9999


def test_what_int8_cannot_hold_is_refused_with_its_figures(outliers: Path, home: Path) -> None:
    figures = r"mean cosine 0\.\d{4} \(needs 0\.998\), lowest cosine -?0\.\d{4} \(needs 0\.99\), ten nearest that stay"
    with pytest.raises(ConversionFailed, match=rf"'bad' too much .*{figures}.*`force_precision: true`"):
        prepare(outliers, home)
    assert [path.name for path in (home / "models" / "bad").iterdir()] == [".lock"]
    plain = prepare(outliers, home, precision="auto").contract
    assert (plain.numbers, plain.quality) == ("float", None)


def test_what_is_forced_keeps_its_figures_and_says_so(outliers: Path, home: Path) -> None:
    text = outliers.read_text().replace("int8}", "int8, force_precision: true}")
    outliers.write_text(text)
    contract = prepare(outliers, home).contract
    assert contract == prepare(outliers, home).contract, "the second reads it back"
    quality = contract.quality
    assert quality is not None
    assert quality.forced
    assert quality.texts == len(passages("embedding"))
    assert quality.cosine_min < LOWEST
    catalog = open_catalog(Settings(home=home, models=outliers, offline=True))
    shown = {key: (value, origin) for key, value, origin in explain(catalog, catalog.registry.find("bad"))}
    assert shown["contract.numbers"] == ("int8", "models.yaml")
    assert shown["contract.quality.forced"] == (True, "measured against fp32 when prepared")
    assert shown["contract.quality.cosine_min"][0] == quality.cosine_min


def test_a_reranker_is_measured_by_its_scores(tmp_path: Path, write_registry: WriteRegistry, home: Path) -> None:
    """Forced: whether random weights keep nine and a half of ten documents is not what is tried."""
    write_tiny_encoder(tiny_encoder("xlm-roberta-reranker"), tmp_path / "scores")
    block = "{name: r, kind: reranker, source: {path: scores}, precision: int8, force_precision: true}"
    quality = prepare(write_registry(f"version: 1\nmodels:\n  - {block}\n"), home).contract.quality
    assert quality is not None
    assert quality.texts == len(passages("reranker"))
    assert 0.99 < quality.cosine_mean < 0.9999999
    assert quality.overlap > 0.8
    assert quality.alone > 0.999


def test_forcing_prepares_anew(outliers: Path, home: Path) -> None:
    catalog = open_catalog(Settings(home=home, models=outliers, offline=True))
    spec = catalog.registry.find("bad")
    changed: list[dict[str, Any]] = [{}, {"force_precision": True}, {"precision": "auto"}]
    targets = [catalog.preparer.target(spec.model_copy(update=change)) for change in changed]
    assert len(set(targets)) == 3


def test_steps_are_told(outliers: Path, home: Path) -> None:
    catalog = open_catalog(Settings(home=home, models=outliers, offline=True))
    spec = catalog.registry.find("bad").model_copy(update={"force_precision": True})
    told: list[tuple[str, int, int]] = []
    catalog.preparer.prepare(spec, lambda *step: told.append(step))
    steps = list(dict.fromkeys(step for step, _, _ in told))
    assert steps[-3:] == ["convert", "check", "quantise"]
    assert [(done, size) for step, done, size in told if step == "check"] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [done for step, done, _ in told if step == "quantise"] == list(range(1, 29))


def test_without_openvino_it_is_refused_with_advice(outliers: Path, home: Path) -> None:
    """As it is where the extra is not installed."""
    program = f"""
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "openvino" else find(name, *rest)
import sys
sys.argv = ["sekisho", "pull", "bad", "--models", {str(outliers)!r}]
from sekisho.cli import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False,
        env={"PATH": os.environ["PATH"], "SEKISHO_HOME": str(home), "SEKISHO_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'sekisho[openvino]'" in done.stderr
    assert "`precision` at auto" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (home / "models" / "bad").iterdir()] == [".lock"]
