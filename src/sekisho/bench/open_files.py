"""A thousand connections are a thousand open files."""

from __future__ import annotations

import sys

_WANTED = 8192


def allow_many() -> None:
    """As many open files as the system lets this process and its children have, up to a few thousand."""
    if sys.platform == "win32":
        return
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
