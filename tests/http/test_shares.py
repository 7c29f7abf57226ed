"""How a machine is divided among workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sekisho.http.server import CannotServe
from sekisho.http.shares import Share, divide, neighbours


def _shares(*cores: set[int], threads: int | None = None) -> list[Share]:
    return [Share(frozenset(each), threads) for each in cores]


@pytest.mark.parametrize(
    ("workers", "processors", "usable", "shares"),
    [
        (2, [0, 1], 2, _shares({0}, {1})),
        (2, [0, 4, 1, 5], 4, _shares({0, 4}, {1, 5})),
        (3, [0, 1, 2, 3], 4, _shares({0}, {1}, {2, 3})),
        (1, [3, 7], 2, _shares({3, 7})),
        # A quota below the mask is shared out by threads.
        (2, list(range(8)), 4, _shares({0, 1, 2, 3}, {4, 5, 6, 7}, threads=2)),
        # No mask on this system.
        (2, None, 8, [Share(None, 4), Share(None, 4)]),
        (3, None, 8, [Share(None, 2), Share(None, 3), Share(None, 3)]),
    ],
)
def test_a_machine_is_divided(workers: int, processors: list[int] | None, usable: int, shares: list[Share]) -> None:
    assert divide(workers, processors, usable) == shares


@pytest.mark.parametrize("usable", [1, 3])
def test_more_workers_than_cores_are_refused(usable: int) -> None:
    with pytest.raises(CannotServe, match=f"may use {usable}: set SEKISHO_WORKERS to {usable}"):
        divide(4, list(range(8)), usable)


def test_both_threads_of_a_core_go_to_one_worker(tmp_path: Path) -> None:
    """Linux numbers first the first threads of all cores, here of two sockets, then the second ones."""
    for number in range(8):
        directory = tmp_path / f"cpu{number}" / "topology"
        directory.mkdir(parents=True)
        (directory / "physical_package_id").write_text(f"{number % 4 // 2}\n")
        (directory / "core_id").write_text(f"{number % 2}\n")
    assert neighbours(range(8), tmp_path) == [0, 4, 1, 5, 2, 6, 3, 7]
    assert neighbours({1, 0, 9}, tmp_path / "none") == [0, 1, 9]
