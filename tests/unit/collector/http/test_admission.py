"""How many are let in, and how much of them is held."""

from __future__ import annotations

import threading

import anyio
import pytest

from leadline_collector.db.group_commit import StoreUnavailableError
from leadline_collector.http.admission import AdmissionController


def test_the_door_holds_so_many_bytes() -> None:
    """Up to the room exactly; one more is told to come again; what was let go can be used anew."""
    door = AdmissionController(memory_bytes=100)

    with door.reserve_memory() as keep:
        keep(60)
        keep(40)
        with pytest.raises(StoreUnavailableError, match="bodies at once"):
            keep(1)
    with door.reserve_memory() as keep:
        keep(100)


def test_the_door_lets_so_many_in() -> None:
    """One works, one waits, the third is told to come again; afterwards there is room."""
    entered, opened = threading.Event(), threading.Event()
    refused: list[StoreUnavailableError] = []

    def stay() -> None:
        entered.set()
        assert opened.wait(10)

    async def visit() -> None:
        door = AdmissionController(concurrent_max=1, queued_max=1)
        async with anyio.create_task_group() as group:
            group.start_soon(door.run, stay)
            while not entered.is_set():
                await anyio.sleep(0.001)
            group.start_soon(door.run, lambda: None)
            await anyio.sleep(0.01)
            try:
                await door.run(lambda: None)
            except StoreUnavailableError as error:
                refused.append(error)
            opened.set()
        assert await door.run(lambda: 7) == 7

    anyio.run(visit)

    assert len(refused) == 1
