"""A small cache of what is derived from a large immutable object."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class IdentityCache(Generic[K, V]):
    """Least recently used, keyed by the object itself rather than by its value.

    Hashing a schema of hundreds of tables costs more than checking a statement against it. The
    source is kept alive with its value, so an identity is never taken for another one's.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[int, Hashable], tuple[K, V]] = OrderedDict()

    def get(self, source: K, make: Callable[[K], V], variant: Hashable = None) -> V:
        """The value made from `source`; `variant` tells apart several values of one source."""
        entry = (id(source), variant)
        with self._lock:
            found = self._entries.get(entry)
            if found is not None:
                self._entries.move_to_end(entry)
                return found[1]
        value = make(source)
        with self._lock:
            self._entries[entry] = (source, value)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        return value
