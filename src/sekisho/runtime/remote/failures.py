"""What a client is told where an upstream gave no answer: none of its body, but for why it rejects the request."""

from __future__ import annotations

import math

from sekisho.errors import (
    BodyTooLarge,
    InvalidRequest,
    SekishoError,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from sekisho.runtime.remote.attempt import Attempt
from sekisho.runtime.remote.service import Service


def error_of(service: Service, attempt: Attempt) -> SekishoError:
    """What the last attempt of a call becomes."""
    who = f"The service behind {service.name!r}"
    if attempt.outcome == "rejected":
        return _rejected(service, attempt, who)
    if attempt.outcome == "refused":
        return UpstreamRefused(f"{who} {_refusal(service, attempt.status)}")
    if attempt.outcome == "limited":
        return limited(service, attempt.wait)
    if attempt.outcome == "timeout":
        return UpstreamTimeout(
            f"{who} gave no whole answer within {service.timeout_seconds:g} s: send fewer texts at once, or raise "
            "`timeout` of its `upstream` in models.yaml"
        )
    if attempt.status == 503 and attempt.wait is not None:
        return UpstreamUnavailable(f"{who} is not ready: try again later", retry_after_seconds=_whole(attempt.wait))
    return UpstreamFailed(f"{who} {attempt.said}: try again later; the server's log has every attempt")


def limited(service: Service, seconds: float | None) -> UpstreamLimited:
    """The service asks for patience, as long as it says."""
    message = f"The service behind {service.name!r} takes no more calls for the moment: try again later"
    return UpstreamLimited(message, retry_after_seconds=_whole(seconds or 1))


def left_alone(service: Service, seconds: float) -> UpstreamUnavailable:
    """The breakers of all replicas are open."""
    return UpstreamUnavailable(
        f"The service behind {service.name!r} has failed several times and is left alone for a moment: try again later",
        retry_after_seconds=_whole(seconds),
    )


def keyless(service: Service) -> UpstreamRefused:
    """The registry names a variable that is not set, or whose value can be no key."""
    return UpstreamRefused(
        f"The service behind {service.name!r} needs a key: set the environment variable {service.key_env} to one, "
        "of plain ASCII characters, and start the server again"
    )


def _rejected(service: Service, attempt: Attempt, who: str) -> SekishoError:
    said = attempt.said if service.key is None else attempt.said.replace(service.key, "…")
    error: type[SekishoError] = BodyTooLarge if attempt.status == 413 else InvalidRequest
    return error(f"{who} refuses the request: {said or 'it does not say why'}")


def _refusal(service: Service, status: int | None) -> str:
    """What the operator has to change; the client is told, so that somebody learns of it."""
    if status in {401, 403} and service.key_env is None:
        return "asks for a key: name the variable that holds it as `key_env` of its `upstream` in models.yaml"
    if status in {401, 403}:
        return f"refuses this server's key: set {service.key_env} to one that it takes, and start the server again"
    if status == 402:
        return "asks for a payment: the account of this server's key has run out"
    if status is not None and 300 <= status < 400:
        return "answers with a redirect, which is not followed: set `base_url` in models.yaml to where it leads"
    return f"does not know the model or the route (status {status}): correct `model` or `base_url` in models.yaml"


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
