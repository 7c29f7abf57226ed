"""A second session of a model whose batches take several cores, for when nothing else wants them.

A lane a core gives the most texts a second where many wait, and lets a text that is alone wait for one slow core. So a
lane that has taken all there is, while other cores rest, borrows those and runs its batch over there: a lone text of
all-MiniLM-L6-v2 takes three fifths of the time on two cores (docs/performance.md).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from sekisho.errors import SekishoError
from sekisho.observability import logger
from sekisho.runtime.model import Model

log = logger(__name__)


class Wide:
    """Made in a thread of its own: the first text need not wait for it, nor anyone where it cannot be made."""

    def __init__(self, name: str, load: Callable[[], Model], threads: int) -> None:
        """load: gives the session; raises SekishoError. threads: cores that a batch takes there."""
        self.threads = threads
        self._name = name
        self._load = load
        self._model: Model | None = None
        self._free: deque[tuple[Model, int]] = deque()
        self._loading = threading.Thread(target=self._make, name=f"sekisho-{name}-wide", daemon=True)
        self._loading.start()

    @property
    def ready(self) -> bool:
        """Whether it is made and has a lane that nobody uses."""
        return bool(self._free)

    def take(self) -> tuple[Model, int] | None:
        """The session and a lane of it, for `leave` to take back; None where there is none now."""
        try:
            return self._free.popleft()  # one step, which needs no lock
        except IndexError:
            return None

    def leave(self, taken: tuple[Model, int]) -> None:
        self._free.append(taken)

    def close(self) -> None:
        """When no lane is in use."""
        self._loading.join()
        self._free.clear()
        if self._model is not None:
            self._model.close()
            self._model = None

    def _make(self) -> None:
        try:
            model = self._model = self._load()
        except SekishoError as error:
            log.warning("not_wide", model=self._name, reason=error.message)
        else:
            self._free.extend((model, lane) for lane in range(model.lanes))
