"""What a model makes of a text before it reads it: its tokens, and tokens back to text."""

from __future__ import annotations

from collections.abc import Sequence

from sekisho.catalog.registry import Registry, Spec
from sekisho.contract import Passage
from sekisho.engine.cached import uncached
from sekisho.engine.engine import Engine, LocalEngine
from sekisho.engine.pool import Pool
from sekisho.errors import InvalidRequest
from sekisho.runtime.spelling import Piece
from sekisho.service.model_names import find_model
from sekisho.service.prompts import prompt_for, with_prompt


class TokenService:
    """Of any model that runs here."""

    def __init__(self, registry: Registry, pool: Pool) -> None:
        self._registry = registry
        self._pool = pool

    async def tokenize(
        self, texts: Sequence[str], *, model: str | None = None, kind: str | None = None, special: bool = True
    ) -> list[list[Piece]]:
        """The tokens of each text, its prompt among them, uncut; `special`: with those that the model gets around it.

        Raises ModelNotFound, InvalidRequest and whatever loading the model raises.
        """
        spec, own = self._find(model)
        kind = kind if kind is not None else own
        prompt = prompt_for(spec, kind) if spec.kind == "embedding" else ""
        passages = [Passage(*with_prompt(prompt, text), field="inputs") for text in texts]
        async with self._pool.use(spec) as engine:
            return await _here(spec, engine).spell(passages, special=special)

    async def decode(
        self, ids: Sequence[Sequence[int]], *, model: str | None = None, skip_special: bool = True
    ) -> list[str]:
        """The text of each list of the model's own token ids. Raises as `tokenize`."""
        spec, _ = self._find(model)
        async with self._pool.use(spec) as engine:
            return await _here(spec, engine).decode(ids, skip_special=skip_special)

    def _find(self, name: str | None) -> tuple[Spec, str | None]:
        return find_model(self._registry, name) if name else (self._registry.default("embedding"), None)


def _here(spec: Spec, engine: Engine) -> LocalEngine:
    inner = uncached(engine)
    if isinstance(inner, LocalEngine):
        return inner
    raise InvalidRequest(f"The model {spec.name!r} runs elsewhere, and so does its tokenizer", param="model")
