"""The engine alone: the prepared model that the server runs, without HTTP, queue or waiting.

Texts are tokenised beforehand, batches are of neighbours in length, and every lane is busy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from sekisho.assemble import device_memory, open_catalog, plan
from sekisho.catalog.registry import Spec
from sekisho.contract import Passage, Tokens
from sekisho.runtime.load import load_again, load_model
from sekisho.runtime.select import batch_tokens
from sekisho.service.prompts import prompt_for, with_prompt
from sekisho.settings import Settings

#: Padded tokens of a batch, or as many as the server's where these are more: the fastest of 384 to 4,096, which lay 4 %
#: apart (OpenVINO, all-MiniLM-L6-v2).
_BATCH_TOKENS = 1024


class Ideal:
    """One model in this process. Close it when done."""

    def __init__(self, settings: Settings, spec: Spec) -> None:
        """Raises what preparing and loading a model raise."""
        prepared = open_catalog(settings).preparer.prepare(spec)
        self.contract = prepared.contract
        if settings.max_length is not None:
            most = min(prepared.contract.max_tokens, settings.max_length)
            self.contract = replace(prepared.contract, max_tokens=most)
        self.directory = prepared.directory
        planned = plan(settings, spec, prepared)
        self.choice = planned.choice
        self._batch_tokens = max(_BATCH_TOKENS, batch_tokens(settings.batch_tokens, self.choice.device))
        self._model = load_model(prepared.directory, self.contract, self.choice, device_memory(settings))
        wide = planned.wide
        self._alone = self._model if wide is None else load_again(self._model, prepared.directory, wide)
        self._prompt = prompt_for(spec, None)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """What the model sees of each text of a request that says nothing but the text."""
        return self._model.encode([Passage(*with_prompt(self._prompt, text)) for text in texts], "end")

    def batches(self, encoded: Sequence[Tokens]) -> list[list[Tokens]]:
        """As an engine likes them best."""
        return batches_of_neighbours(encoded, self._batch_tokens)

    def tokens_per_second(self, batches: Sequence[Sequence[Tokens]]) -> float:
        """Of all lanes together."""
        began = time.perf_counter()
        self.run(batches)
        return sum(len(tokens) for batch in batches for tokens in batch) / (time.perf_counter() - began)

    def run(self, batches: Sequence[Sequence[Tokens]]) -> None:
        """Every batch, on whichever lane is free."""
        waiting, lock = iter(batches), threading.Lock()

        def lane(number: int) -> None:
            while True:
                with lock:
                    batch = next(waiting, None)
                if batch is None:
                    return
                self._model.run(number, batch)

        lanes = [threading.Thread(target=lane, args=(number,)) for number in range(self._model.lanes)]
        for thread in lanes:
            thread.start()
        for thread in lanes:
            thread.join()

    def run_one(self, batch: Sequence[Tokens]) -> None:
        """A batch, while nothing else runs: as the server does it, on several cores where these are sooner done."""
        self._alone.run(0, batch)

    def alone(self, texts: Sequence[str]) -> list[float]:
        """Milliseconds that tokenising and running each text take, one after the other."""
        taken = []
        for text in texts:
            began = time.perf_counter()
            self.run_one(self.encode([text]))
            taken.append((time.perf_counter() - began) * 1000)
        return taken

    def close(self) -> None:
        if self._alone is not self._model:
            self._alone.close()
        self._model.close()


def batches_of_neighbours(encoded: Sequence[Tokens], limit: int) -> list[list[Tokens]]:
    """Shortest first, in batches of at most `limit` padded tokens; a longer text is alone."""
    batches: list[list[Tokens]] = [[]]
    for tokens in sorted(encoded, key=len):
        if batches[-1] and len(tokens) * (len(batches[-1]) + 1) > limit:
            batches.append([])
        batches[-1].append(tokens)
    return batches


def part(batches: Sequence[list[Tokens]], share: int, number: int) -> list[list[Tokens]]:
    """Every `share`-th batch, beginning with `number`: as short and as long as all of them, in less time."""
    return list(batches[number % share :: share])
