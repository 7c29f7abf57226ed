"""Token-id arrays as clients send them: LangChain tokenises with OpenAI's cl100k_base before it sends.

The table is part of the package: base64 of each token's bytes and its rank, one a line, as tiktoken publishes it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from sekisho.errors import InternalError, InvalidRequest

#: sha256 of the unpacked table, as tiktoken itself pins it (tiktoken_ext/openai_public.py).
CL100K_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
_SPECIAL = {
    100257: b"<|endoftext|>",
    100258: b"<|fim_prefix|>",
    100259: b"<|fim_middle|>",
    100260: b"<|fim_suffix|>",
    100276: b"<|endofprompt|>",
}


@cache
def cl100k_table() -> dict[int, bytes]:
    """Token id → bytes. Raises InternalError where the packaged table is damaged."""
    packed = files("sekisho").joinpath("data/cl100k_base.tiktoken.gz").read_bytes()
    table = gzip.decompress(packed)
    if hashlib.sha256(table).hexdigest() != CL100K_SHA256:
        raise InternalError("The cl100k table of this installation is damaged: install Sekisho again")
    lines = (line.split() for line in table.splitlines())
    return {int(rank): base64.b64decode(token) for token, rank in lines} | _SPECIAL


def decode_cl100k(ids: Sequence[int], index: int) -> str:
    """The text behind a list of cl100k ids. A piece may start or end inside a character: those bytes become U+FFFD.

    index: which input this is, for messages. Raises InvalidRequest for ids outside the table.
    """
    table = cl100k_table()
    try:
        return b"".join([table[i] for i in ids]).decode("utf-8", "replace")
    except KeyError as error:
        raise InvalidRequest(
            f"input[{index}] holds the token id {error.args[0]}, which is not in OpenAI's cl100k_base, "
            "as which token ids are read. Send the text itself "
            "(in LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))",
            param="input",
        ) from None
