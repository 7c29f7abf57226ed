"""A table of vectors, one a token: no transformer, no config.json (sentence-transformers' StaticEmbedding)."""

from __future__ import annotations

import sys

from sekisho.contract import Kind
from sekisho.convert.blocks import Graph
from sekisho.convert.family import Body, Config, Family
from sekisho.errors import ConversionFailed

_TABLE = "embedding.weight"

#: A mean of rows knows no limit; a server needs one. This is what the longest models of the catalogue and OpenAI's
#: own take, so a text that fits those fits here, and one text of 1,024 dimensions is 32 MiB while it is summed.
_DEFAULT_TOKENS = 8192


def positions(_config: Config) -> int:
    """None are counted."""
    return sys.maxsize


def build(g: Graph, _config: Config, _kind: Kind) -> Body:
    """The rows of the table; pooling takes their mean, which of no token is zero."""
    shape = g.weights.shape(_TABLE)
    if len(shape) != 2:
        raise ConversionFailed(f"weight {_TABLE!r} has shape {shape}, expected rows and columns")
    ids, mask = g.input("input_ids"), g.input("attention_mask")
    return Body(g.op.Gather(g.weight(_TABLE, *shape), ids), mask, ("input_ids", "attention_mask"), shape[1], shape[0])


FAMILY = Family(
    name="static",
    model_types=("static",),
    rename=((r"^embeddings$", _TABLE),),
    unused=(),
    head=(),
    positions=positions,
    build=build,
    pooling="mean",
    default_tokens=_DEFAULT_TOKENS,
    special_tokens=False,
)
