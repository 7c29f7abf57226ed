"""A short run of what `scripts/kill-proof` does a hundred times."""

from __future__ import annotations

from pathlib import Path

from tests.catalog.killing import kill
from tests.catalog.slow_hub import slow_hub


def test_a_killed_pull_is_nothing_or_whole_and_heals_by_itself(tmp_path: Path) -> None:
    with slow_hub(tmp_path) as stand:
        outcome = kill(stand, 8, seed=3)
    assert outcome.good, outcome
    assert outcome.kills >= 8
    assert outcome.phases["in the middle of a file"], outcome.phases
