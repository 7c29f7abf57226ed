"""Every error a caller can see, and the answer it becomes.

SekishoError                     status  code
├── InvalidRequest                  400  invalid_request
│   └── InputTooLong                400  input_too_long
├── Unauthorized                    401  invalid_api_key
├── Forbidden                       403  forbidden
├── ModelNotFound                   404  model_not_found
├── RouteNotFound                   404  route_not_found
├── MethodNotAllowed                405  method_not_allowed
├── BodyTooLarge                    413  request_too_large
├── UnsupportedMediaType            415  unsupported_media_type
├── Overloaded                      429  overloaded
│   └── UpstreamLimited             429  upstream_limited
├── ClientGone                      499  client_gone        (logged, never sent: nobody is there)
├── InternalError                   500  internal_error
│   ├── ArtifactRefused             500  artifact_refused   (a digest did not match)
│   └── ConversionFailed            500  conversion_failed
├── UpstreamFailed                  502  upstream_failed
│   ├── UpstreamRefused             502  upstream_refused
│   └── UpstreamTimeout             504  upstream_timeout
├── NotReady                        503  not_ready
│   ├── ModelUnpinned               503  model_unpinned
│   ├── SourceUnreachable           503  source_unreachable
│   ├── StorageFull                 503  storage_full
│   └── UpstreamUnavailable         503  upstream_unavailable
└── OutOfMemory                     507  out_of_memory
RegistryInvalid                     (start only: models.yaml or models.lock is wrong)

A message says what to change. It holds no traceback and no path of the server: it may travel to a stranger.
"""

from __future__ import annotations


class SekishoError(Exception):
    """An error with an answer: `status` and `code` go on the wire, `message` to a person.

    permanent: sending the same request again will not help until a person has changed something.
    """

    status = 500
    code = "internal_error"
    type = "server_error"
    permanent = False
    retry_after_seconds: int | None = None

    def __init__(self, message: str, *, param: str | None = None, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds


class InvalidRequest(SekishoError):
    """The request cannot be served as it stands; `param` names the field to change."""

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"


class InputTooLong(InvalidRequest):
    """A text is longer than the model reads and the caller forbade truncation."""

    code = "input_too_long"


class Unauthorized(SekishoError):
    """No key, or one that is not known."""

    status = 401
    code = "invalid_api_key"
    type = "authentication_error"


class Forbidden(SekishoError):
    """The key is known but may not do this."""

    status = 403
    code = "forbidden"
    type = "permission_error"


class ModelNotFound(SekishoError):
    """No model of that name is in the registry."""

    status = 404
    code = "model_not_found"
    type = "invalid_request_error"


class RouteNotFound(SekishoError):
    """No route at that path."""

    status = 404
    code = "route_not_found"
    type = "invalid_request_error"


class MethodNotAllowed(SekishoError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"
    type = "invalid_request_error"


class BodyTooLarge(SekishoError):
    """More bytes or more tokens than one request may hold."""

    status = 413
    code = "request_too_large"
    type = "invalid_request_error"


class UnsupportedMediaType(SekishoError):
    """A body that is not JSON."""

    status = 415
    code = "unsupported_media_type"
    type = "invalid_request_error"


class Overloaded(SekishoError):
    """The queue is full: the whole request was refused before any work was done."""

    status = 429
    code = "overloaded"
    type = "rate_limit_error"
    retry_after_seconds = 1


class UpstreamLimited(Overloaded):
    """The service that runs the model takes no more calls for the moment."""

    code = "upstream_limited"


class ClientGone(SekishoError):
    """The client hung up before its answer was ready."""

    status = 499
    code = "client_gone"
    type = "client_error"


class InternalError(SekishoError):
    """Our fault."""

    permanent = True


class ArtifactRefused(InternalError):
    """A file's bytes are not the pinned ones, or a file is missing from its source."""

    code = "artifact_refused"


class ConversionFailed(InternalError):
    """A checkpoint that the converter cannot turn into a graph."""

    code = "conversion_failed"


class UpstreamFailed(SekishoError):
    """The service that runs the model failed, broke the connection or gave no answer that can be read."""

    status = 502
    code = "upstream_failed"


class UpstreamRefused(UpstreamFailed):
    """The service that runs the model does not let this server in, or lacks what the registry names."""

    code = "upstream_refused"
    permanent = True


class UpstreamTimeout(UpstreamFailed):
    """The service that runs the model gave no whole answer in time."""

    status = 504
    code = "upstream_timeout"


class NotReady(SekishoError):
    """Not now: loading, draining, or waiting for something outside."""

    status = 503
    code = "not_ready"
    type = "service_unavailable_error"
    retry_after_seconds = 5


class ModelUnpinned(NotReady):
    """The model has no revision or digests, so nothing of it may be loaded."""

    code = "model_unpinned"
    permanent = True
    retry_after_seconds = 60


class SourceUnreachable(NotReady):
    """No place that carries the model's files could be reached."""

    code = "source_unreachable"
    retry_after_seconds = 30

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class StorageFull(NotReady):
    """The disk of the cache has no room for the prepared model."""

    code = "storage_full"
    retry_after_seconds = 60


class UpstreamUnavailable(NotReady):
    """The service that runs the model failed again and again and is left alone, or is not ready itself."""

    code = "upstream_unavailable"


class OutOfMemory(SekishoError):
    """The machine has no memory for the model or the batch."""

    status = 507
    code = "out_of_memory"
    retry_after_seconds = 30


class RegistryInvalid(Exception):
    """models.yaml or models.lock is wrong; the message names file, line, key and what was expected."""
