"""Background threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def run_while(name: str, loop: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run ``loop`` in a background thread for the duration of a ``with`` block.

    The end of the block sets the event that ``loop`` receives, and waits for the thread.
    """
    stopping = threading.Event()
    thread = threading.Thread(target=loop, args=(stopping,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
