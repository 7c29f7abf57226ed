"""Token-id arrays as clients send them: LangChain tokenises with OpenAI's cl100k_base before it sends.

The table is part of the package: base64 of each token's bytes and its rank, one a line, as tiktoken publishes it.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
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

#: Names for which tiktoken 0.14 takes another table than cl100k_base, and that table (tiktoken/model.py). For names it
#: does not know LangChain takes cl100k_base.
_OTHER_TABLES = {
    "o200k_base": r"(o1|o3|o4-mini|gpt-4\.1|gpt-4o)(-.*)?|(gpt-5|gpt-4\.5-|chatgpt-4o-|gpt-oss-|ft:gpt-4o).*",
    "p50k_base": (
        r"text-davinci-00[23]|code-(davinci|cushman)-00[12]|(davinci|cushman)-codex|(text|code)-davinci-edit-001"
    ),
    "r50k_base": (
        r"davinci|curie|babbage|ada|text-((similarity|search)-)?(davinci|curie|babbage|ada)(-doc)?-001"
        r"|code-search-(babbage|ada)-code-001|gpt-?2"
    ),
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


def refuse_other_tables(model: str) -> None:
    """Raises InvalidRequest where a client that goes by the model's name has made token ids of another table.

    Each table gives every small number to some text, so ids of another one would be other texts, without any error.
    """
    table = next((table for table, names in _OTHER_TABLES.items() if re.fullmatch(names, model)), None)
    if table is not None:
        raise InvalidRequest(
            f"Token ids for a model called {model!r} are of OpenAI's {table}, and only cl100k_base is read here. Send "
            "the text itself (in LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False)), or call the model by "
            "another of its names",
            param="input",
        )
