"""Which replica is next, without a clock or a network."""

from __future__ import annotations

from sekisho.runtime.remote.breaker import FAILURES, FIRST_SECONDS, Breaker, failed
from sekisho.runtime.remote.replicas import Pause, Replica, choose, has_fresh


def replicas(*outstanding: int) -> list[Replica]:
    return [Replica(f"http://{place}", outstanding=calls) for place, calls in enumerate(outstanding)]


def down(replica: Replica, now: float) -> None:
    for _ in range(FAILURES):
        replica.breaker = failed(replica.breaker, now, trial=False)


def test_the_one_with_the_fewest_calls_under_way() -> None:
    assert choose(replicas(3, 1, 2), 0.0) == 1


def test_equals_take_turns() -> None:
    three = replicas(0, 0, 0)
    turns = []
    for _ in range(6):
        chosen = choose(three, 0.0)
        assert isinstance(chosen, int)
        three[chosen].begun += 1
        turns.append(chosen)
    assert turns == [0, 1, 2, 0, 1, 2]


def test_another_than_those_this_call_has_been_to() -> None:
    three = replicas(5, 0, 9)
    assert choose(three, 0.0, {1}) == 0
    assert choose(three, 0.0, {0, 1}) == 2
    assert choose(three, 0.0, {0, 1, 2}) == 1, "all of them: the least busy again"
    assert has_fresh(three, 0.0, {0, 1})
    assert not has_fresh(three, 0.0, {0, 1, 2})


def test_not_one_that_is_left_alone_or_asked_for_patience() -> None:
    three = replicas(0, 0, 9)
    down(three[0], 10.0)
    three[1].rests_until = 12.0
    assert choose(three, 10.0) == 2
    assert choose(three, 12.0) == 0, "both are to be had again"
    three[0].breaker = Breaker()
    assert choose(three, 11.0) == 0


def test_how_long_until_there_is_one() -> None:
    two = replicas(0, 0)
    down(two[0], 10.0)
    down(two[1], 10.5)
    assert choose(two, 11.0) == Pause(FIRST_SECONDS - 1, "open")
    assert not has_fresh(two, 11.0, set())
    two[1] = Replica("http://1", rests_until=30.0)
    assert choose(two, 11.0) == Pause(19.0, "resting"), "one that answers at all decides what the client is told"
    assert choose(two, 10.0 + FIRST_SECONDS) == 0
