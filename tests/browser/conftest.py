"""Fixtures of the browser tests. Without Chromium, they are skipped with the reason; on CI, they fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import chromium, unavailable_reason
from tests.browser.demo_collector import demo_collector, locked_collector
from tests.browser.visitor import Visitor

_HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder with ``browser``."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.browser)
            # The first test also simulates the month.
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="package", name="chromium")
def _chromium() -> Iterator[Browser]:
    # Scope package: while Playwright runs, other tests in this process cannot run an event loop.
    if reason := unavailable_reason():
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
    """Yield a visitor of the demo collector; fail the test after a fault on any page."""
    yield from _watched(Visitor(browser=chromium, origin=collector))


@pytest.fixture(name="anonymous_visitor")
def _anonymous_visitor(chromium: Browser, locked: str) -> Iterator[Visitor]:
    """Yield a visitor without a session of a collector with a viewer key."""
    yield from _watched(Visitor(browser=chromium, origin=locked))


def _watched(visitor: Visitor) -> Iterator[Visitor]:
    yield visitor
    visitor.close()
    assert visitor.faults == []
