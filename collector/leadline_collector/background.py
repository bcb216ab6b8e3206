"""Work that goes on in a thread for as long as something else does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def run_while(name: str, loop: Callable[[threading.Event], None]) -> Iterator[None]:
    """``rounds`` in a thread; when the ``with`` ends its event is set, and what is under way is waited for."""
    stopping = threading.Event()
    thread = threading.Thread(target=loop, args=(stopping,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
