"""The browser and the collector of all browser tests. Without Chromium: skipped with the reason, on CI a failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import chromium, why_not
from tests.browser.demo_collector import demo_collector, locked_collector
from tests.browser.visitor import Visitor

_HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, so that ``-m browser`` finds it."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.browser)
            # The first of them also simulates the month.
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="package", name="chromium")
def _chromium() -> Iterator[Browser]:
    # For this folder only: while Playwright runs, no other test of this process could run an event loop.
    if reason := why_not():
        if os.environ.get("CI"):
            pytest.fail(f"browser tests must run on CI: {reason}", pytrace=False)
        pytest.skip(reason)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package", name="collector")
def _collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with demo_collector(tmp_path_factory.mktemp("demo")) as url:
        yield url


@pytest.fixture(scope="package", name="locked")
def _locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with locked_collector(tmp_path_factory.mktemp("locked")) as url:
        yield url


@pytest.fixture(name="visitor")
def _visitor(chromium: Browser, collector: str) -> Iterator[Visitor]:
    """Opens pages; at the end of the test nothing may have gone wrong on any of them."""
    yield from _watched(Visitor(browser=chromium, origin=collector))


@pytest.fixture(name="stranger")
def _stranger(chromium: Browser, locked: str) -> Iterator[Visitor]:
    """One who comes to a collector without its viewer key."""
    yield from _watched(Visitor(browser=chromium, origin=locked))


def _watched(visitor: Visitor) -> Iterator[Visitor]:
    yield visitor
    visitor.close()
    assert visitor.faults == []
