"""Admission control: concurrency and memory limits."""

from __future__ import annotations

import threading

import anyio
import pytest

from leadline_collector.db.group_commit import StoreUnavailableError
from leadline_collector.http.admission import AdmissionController


def test_memory_is_limited() -> None:
    """Exactly the limit is accepted, one byte more is refused, and released memory is available again."""
    admission = AdmissionController(memory_bytes=100)

    with admission.reserve_memory() as reserve:
        reserve(60)
        reserve(40)
        with pytest.raises(StoreUnavailableError, match="bodies at once"):
            reserve(1)
    with admission.reserve_memory() as reserve:
        reserve(100)


def test_concurrency_is_limited() -> None:
    """One request runs, one waits, the third is refused; afterwards requests run again."""
    entered, may_end = threading.Event(), threading.Event()
    errors: list[StoreUnavailableError] = []

    def block() -> None:
        entered.set()
        assert may_end.wait(10)

    async def run_requests() -> None:
        admission = AdmissionController(concurrent_max=1, queued_max=1)
        async with anyio.create_task_group() as group:
            group.start_soon(admission.run, block)
            while not entered.is_set():
                await anyio.sleep(0.001)
            group.start_soon(admission.run, lambda: None)
            await anyio.sleep(0.01)
            try:
                await admission.run(lambda: None)
            except StoreUnavailableError as error:
                errors.append(error)
            may_end.set()
        assert await admission.run(lambda: 7) == 7

    anyio.run(run_requests)

    assert len(errors) == 1
