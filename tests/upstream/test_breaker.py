"""When a replica is left alone, without a clock."""

from __future__ import annotations

from sekisho.runtime.remote.breaker import (
    FAILURES,
    FIRST_SECONDS,
    MOST_SECONDS,
    Breaker,
    abandoned,
    allows,
    began,
    failed,
    remaining,
    succeeded,
)


def opened(now: float = 100.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker = failed(breaker, now, trial=False)
    return breaker


def tried(breaker: Breaker, now: float) -> Breaker:
    """A trial that fails at once."""
    return failed(began(breaker), now, trial=True)


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    breaker = Breaker()
    for _ in range(FAILURES - 1):
        breaker = failed(breaker, 100.0, trial=False)
        assert allows(breaker, 100.0)
    breaker = failed(breaker, 100.0, trial=False)
    assert not allows(breaker, 100.0)
    assert remaining(breaker, 100.5) == FIRST_SECONDS - 0.5


def test_one_success_between_starts_the_count_again() -> None:
    breaker = Breaker()
    for _ in range(3 * FAILURES):
        breaker = failed(succeeded(failed(breaker, 1.0, trial=False)), 1.0, trial=False)
    assert breaker == Breaker(failures=1)


def test_after_its_time_one_call_may_try() -> None:
    breaker = opened()
    now = 100.0 + FIRST_SECONDS
    assert not allows(breaker, now - 0.001)
    assert allows(breaker, now)
    assert remaining(breaker, now) == 0
    trying = began(breaker)
    assert not allows(trying, now + 1000), "the others wait for what the trial says"
    assert remaining(trying, now) > 0
    assert succeeded(trying) == Breaker()


def test_each_trial_that_fails_doubles_the_wait_up_to_the_most() -> None:
    breaker, now, waits = opened(), 100.0, []
    for _ in range(7):
        now += remaining(breaker, now)
        breaker = tried(breaker, now)
        waits.append(remaining(breaker, now))
    assert waits == [4, 8, 16, 30, 30, 30, 30]
    assert MOST_SECONDS == 30


def test_calls_that_began_before_it_opened_change_nothing() -> None:
    breaker = opened()
    assert failed(breaker, 101.0, trial=False) == breaker
    trying = began(opened())
    assert failed(trying, 200.0, trial=False) == trying


def test_a_trial_whose_client_left_is_open_to_the_next() -> None:
    breaker = began(opened())
    now = 100.0 + FIRST_SECONDS
    assert not allows(breaker, now)
    assert allows(abandoned(breaker, trial=True), now)
    assert abandoned(breaker, trial=False) == breaker
    assert abandoned(Breaker(failures=2), trial=False) == Breaker(failures=2)


def test_while_closed_beginning_changes_nothing() -> None:
    assert began(Breaker(failures=3)) == Breaker(failures=3)
    assert remaining(Breaker(failures=3), 0.0) == 0
