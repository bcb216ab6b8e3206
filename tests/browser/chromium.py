"""The distribution's Chromium: where it is and how it is started. Playwright's own downloads are not used."""

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
    "--no-sandbox",  # its sandbox does not work for root, which the tests of the network need
    "--disable-gpu",  # one way to draw, with and without a graphics card
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    # Whatever a page or the browser itself asks for: no name is resolved, so nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--font-render-hinting=none",
    "--force-color-profile=srgb",
)


def executable() -> str | None:
    """The program: what the variable names, or the first found on PATH; None if there is none."""
    return os.environ.get(VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)


def why_not() -> str | None:
    """Why there can be no browser; None if there can."""
    found = executable()
    if found is None:
        return f"no Chromium: neither {' nor '.join(NAMES)} is on PATH and {VARIABLE} names none"
    if shutil.which(found) is None:
        return f"{VARIABLE} names {found}, which cannot be started"
    return None


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium with an empty profile, which goes when it ends."""
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
