"""The tree in the module's docstring is the tree of its classes, and each has an answer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

from sekisho import errors
from sekisho.errors import ClientGone, InternalError, NotReady, RegistryInvalid, SekishoError, SourceUnreachable

_LINE = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>\w+)\s+(?P<status>\d{3})\s+(?P<code>\w+)")


def classes() -> list[type[SekishoError]]:
    return [
        value for _, value in inspect.getmembers(errors, inspect.isclass)
        if issubclass(value, SekishoError) and value is not SekishoError
    ]  # fmt: skip


def documented() -> Iterator[tuple[str, str, int, str]]:
    """(name, parent, status, code) of each line of the tree."""
    above: list[tuple[int, str]] = [(-1, "SekishoError")]
    for line in (errors.__doc__ or "").splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        depth = len(found["indent"])
        while above[-1][0] >= depth:
            above.pop()
        yield found["name"], above[-1][1], int(found["status"]), found["code"]
        above.append((depth, found["name"]))


def test_the_documented_tree_is_the_tree() -> None:
    real = {(each.__name__, each.__mro__[1].__name__, each.status, each.code) for each in classes()}
    assert set(documented()) == real
    assert len(real) > 15


@pytest.mark.parametrize("error", classes())
def test_every_error_has_an_answer_of_its_own(error: type[SekishoError]) -> None:
    assert 400 <= error.status < 600
    assert re.fullmatch(r"[a-z_]+", error.code)
    assert error.type.endswith("_error")
    assert (error.__doc__ or "").strip(), "what it means is said in a line"
    made = error("what to change")
    assert str(made) == made.message == "what to change"


def test_no_two_errors_share_a_code() -> None:
    codes = [error.code for error in classes()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", classes())
def test_only_what_passes_by_itself_says_when_to_come_back(error: type[SekishoError]) -> None:
    """A client that is told to retry a 400 would do so for ever."""
    waits = error.retry_after_seconds is not None
    assert waits == (error.status in {429, 503, 507})


@pytest.mark.parametrize("error", [each for each in classes() if each.status < 429 or issubclass(each, InternalError)])
def test_what_the_caller_or_we_did_wrong_sets_no_wait(error: type[SekishoError]) -> None:
    assert error("x").retry_after_seconds is None


def test_a_longer_wait_can_be_asked_for() -> None:
    assert NotReady("loading", retry_after_seconds=7).retry_after_seconds == 7
    assert NotReady("loading").retry_after_seconds == NotReady.retry_after_seconds
    assert NotReady.retry_after_seconds == 5


def test_param_names_the_field() -> None:
    assert errors.InvalidRequest("x", param="input").param == "input"
    assert errors.InvalidRequest("x").param is None


def test_a_source_may_be_out_of_reach_for_good() -> None:
    assert SourceUnreachable("offline", permanent=True).permanent
    assert not SourceUnreachable("gone for now").permanent
    assert InternalError("ours").permanent


def test_a_wrong_registry_is_no_answer() -> None:
    """It stops the start; no request ever sees it."""
    assert not issubclass(RegistryInvalid, SekishoError)
    assert ClientGone.status == 499
