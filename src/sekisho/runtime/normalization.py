"""What is done to a text before its tokenizer sees it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from sekisho.contract import Normalization
from sekisho.errors import ConversionFailed


def normalizer(how: Normalization) -> Callable[[str], str] | None:
    """A function of the whole text, without its prompt; None for `none`. Raises ConversionFailed without its extra."""
    if how == "none":
        return None
    if how == "nfkc":
        return _nfkc
    try:
        import neologdn
    except ImportError:
        raise missing("neologdn", "normalization: neologdn", "ja") from None

    def normalized(text: str) -> str:
        return str(neologdn.normalize(text))

    return normalized


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def missing(package: str, wanted_by: str, extra: str) -> ConversionFailed:
    """The error for an extra that is not installed."""
    return ConversionFailed(
        f"{wanted_by} needs the package {package}, which is not installed: `pip install 'sekisho[{extra}]'`"
    )
