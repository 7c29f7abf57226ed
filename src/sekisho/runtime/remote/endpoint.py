"""Where a route of a service is. Pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_VERSION = re.compile(r"v\d+\w*")


def endpoint(base_url: str, path: str) -> str:
    """`base_url` with a route below it, whose version is left out where `base_url` names one.

    >>> endpoint("https://api.example.com", "v1/embeddings")
    'https://api.example.com/v1/embeddings'
    >>> endpoint("https://api.example.com/v1beta/openai/", "v1/embeddings")
    'https://api.example.com/v1beta/openai/embeddings'
    """
    version, _, rest = path.partition("/")
    if _VERSION.fullmatch(version) and any(_VERSION.fullmatch(part) for part in urlsplit(base_url).path.split("/")):
        path = rest
    return f"{base_url.rstrip('/')}/{path}"


def host_of(url: str) -> str:
    """Host and port, for logs and metrics."""
    return urlsplit(url).netloc
