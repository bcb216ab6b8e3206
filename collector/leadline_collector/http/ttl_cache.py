"""Answers that are kept for a while: the same question gets the same answer, and whoever asks meanwhile waits for it.

For pages only: who asks the API gets what is true then.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from leadline.clock import Clock

V = TypeVar("V")


@dataclass(slots=True)
class _Entry(Generic[V]):
    """An answer, empty until it is there."""

    making: threading.Lock = field(default_factory=threading.Lock)
    #: The answer alone, so that None can be one.
    found: tuple[V] | None = None
    #: When the answer began to be made: what happened later is not in it.
    begun_ns: int = 0


class Kept(Generic[V]):
    """At most so many answers, none older than so many seconds; for threads."""

    def __init__(self, clock: Clock, *, age_s_max: int, entries_max: int) -> None:
        self._clock = clock
        self._age_ns_max = age_s_max * 1_000_000_000
        self._entries_max = entries_max
        self._entries: OrderedDict[Hashable, _Entry[V]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, question: Hashable, make: Callable[[], V]) -> V:
        """The answer that is kept, else the one made now; an error is not kept, the next who asks tries again."""
        entry = self._entry(question)
        with entry.making:
            if entry.found is None:
                entry.begun_ns = self._clock.monotonic_ns()
                entry.found = (make(),)
            return entry.found[0]

    def _entry(self, question: Hashable) -> _Entry[V]:
        with self._lock:
            entry = self._entries.get(question)
            if entry is None or self._is_old(entry):
                entry = self._entries[question] = _Entry()
            self._entries.move_to_end(question)
            while len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)
            return entry

    def _is_old(self, entry: _Entry[V]) -> bool:
        return entry.found is not None and self._clock.monotonic_ns() - entry.begun_ns >= self._age_ns_max
