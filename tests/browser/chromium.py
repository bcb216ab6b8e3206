"""Starts the Chromium of the distribution; Playwright's own downloads are not used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

VARIABLE = "LEADLINE_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser")
FONTS = Path(__file__).with_name("fonts.conf")
FLAGS = (
    "--no-sandbox",  # the sandbox does not work for root, which the network tests need
    "--disable-gpu",  # the same rendering with and without a graphics card
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    # Neither pages nor the browser can resolve a name, so no request leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
)


def executable() -> str | None:
    """Return the program from the variable, or the first one on PATH; None if not installed."""
    return os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)


def unavailable_reason() -> str | None:
    """Return why the browser cannot start; None if it can."""
    program = executable()
    if program is None:
        return f"no Chromium: neither {' nor '.join(NAMES)} is on PATH, and {VARIABLE} is not set"
    if shutil.which(program) is None:
        return f"cannot start {program} ({VARIABLE})"
    return None


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium with an empty, temporary profile."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(),
            headless=True,
            args=FLAGS,
            env={**os.environ, "FONTCONFIG_FILE": str(FONTS)},
        )
        try:
            yield browser
        finally:
            browser.close()
