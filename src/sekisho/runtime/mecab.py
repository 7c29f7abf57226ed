"""Japanese text → words, as MeCab and its dictionary cut it."""

from __future__ import annotations

import re
import threading
from importlib import import_module
from pathlib import Path

from sekisho.errors import ConversionFailed
from sekisho.runtime.normalization import missing

#: Dictionaries that Python packages carry: the module's name and, where it is one of ours, the extra.
_PACKAGES = {"unidic_lite": "unidic-lite", "unidic": "unidic", "ipadic": "ipadic"}

#: MeCab takes 1 KB of memory a character, crashes somewhere between a hundred thousand and a million characters of one
#: kind, and drops what follows 65,535 spaces.
_MOST_CHARS = 65_536
#: What every one of the dictionaries calls white space; a carriage return is not.
_SPACES = re.compile(r"[ \t\n\v]{2,}")


class Mecab:
    """MeCab with one dictionary. One text at a time: the tagger is not safe for more, and holds the GIL anyway."""

    def __init__(self, dictionary: str) -> None:
        """Raises ConversionFailed where MeCab or the dictionary is not installed."""
        try:
            from fugashi import GenericTagger
        except ImportError:
            raise missing("fugashi", "this model's tokenizer (MeCab)", "ja") from None
        folder = _folder(dictionary)
        self._tagger = GenericTagger(f'-d "{folder}" -r "{folder / "mecabrc"}"')
        self._lock = threading.Lock()

    def words(self, text: str) -> list[str]:
        """Words without the white space between them.

        A run of white space is given to MeCab as one space, which changes nothing but that it survives any length; of
        what then is longer than it can bear, the first part is read.
        """
        text = _SPACES.sub(" ", text)[:_MOST_CHARS]
        with self._lock:
            return [node.surface for node in self._tagger(text)]


def _folder(dictionary: str) -> Path:
    try:
        folder = Path(str(import_module(dictionary).DICDIR))
    except ImportError:
        package = _PACKAGES.get(dictionary, dictionary)
        if package == "unidic-lite":
            raise missing(package, "this model's tokenizer (MeCab)", "ja") from None
        raise ConversionFailed(
            f"this model's tokenizer needs MeCab's dictionary {package}, which is not installed: "
            f"`pip install {package}`"
        ) from None
    if not folder.is_dir():
        raise ConversionFailed(
            f"MeCab's dictionary {dictionary} is installed without its files: `python -m {dictionary} download`"
        )
    return folder
