"""A short run of what `scripts/kill-proof` does a hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.runtime.machine import this_machine
from tests.catalog.int8_stand import int8_stand
from tests.catalog.killing import ConvertStand, kill
from tests.catalog.slow_hub import slow_hub
from tests.checkpoints import write_tiny_bert
from tests.goldens_io import tiny_spec


def test_a_killed_pull_is_nothing_or_whole_and_heals_by_itself(tmp_path: Path) -> None:
    with slow_hub(tmp_path) as stand:
        outcome = kill(stand, 8, seed=3)
    assert outcome.good, outcome
    assert outcome.kills >= 8
    assert outcome.phases["in the middle of a file"], outcome.phases


def test_a_killed_conversion_is_nothing_or_whole_and_heals_by_itself(tmp_path: Path) -> None:
    checkpoint = write_tiny_bert(tiny_spec("tiny-bert-max"), tmp_path / "checkpoint")
    outcome = kill(ConvertStand("a tiny checkpoint", checkpoint, tmp_path / "stand"), 12, seed=3)
    assert outcome.good, outcome
    assert outcome.kills >= 12
    assert outcome.phases["converting"], outcome.phases


@pytest.mark.skipif(this_machine().openvino is None, reason="int8 runs on OpenVINO")
def test_a_model_killed_while_it_is_made_int8_heals_by_itself(tmp_path: Path) -> None:
    outcome = kill(int8_stand(tmp_path), 3, seed=3)
    assert outcome.good, outcome
    assert outcome.kills >= 3
    assert outcome.phases["after converting"], outcome.phases
