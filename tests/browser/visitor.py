"""Who looks at the pages, and what no page may do while somebody looks.

Rule 1: no error or warning on the console, no exception, no violation of the Content-Security-Policy.
Rule 2: no request that fails, and none to another host, the links that a person follows excepted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, expect

#: The widths the pages are looked at, CSS pixels: a screen with room for a window beside, and a phone.
WIDE, PHONE = (1_400, 900), (390, 844)
#: Verdicts over a month take a second or two, and the machine may be busy; what takes longer than this hangs.
TIMEOUT_MS = 60_000
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

#: Put into every page before its own scripts.
_NOTE_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", event =>
  console.error(`violates ${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`))
"""


# Without slots: Playwright hangs its own attributes on whose methods it calls.
@dataclass(kw_only=True)
class Visitor:
    """Opens pages of one collector, each in a fresh profile, and remembers what went wrong on them."""

    browser: Browser
    origin: str
    faults: list[str] = field(default_factory=list)
    _contexts: list[BrowserContext] = field(default_factory=list)

    def open(
        self,
        path: str,
        *,
        scheme: Scheme = "light",
        size: tuple[int, int] = WIDE,
        script: bool = True,
        bypass_csp: bool = False,
        scale: float = 1,
        status: int = 200,
    ) -> Page:
        """A page of the collector that has been loaded and drawn. ``script`` False is a browser without JavaScript."""
        page = self.blank(scheme=scheme, size=size, script=script, bypass_csp=bypass_csp, scale=scale)
        answer = page.goto(self.origin + path)
        assert answer is not None
        assert answer.status == status, f"{path}: {answer.status}"
        if script:
            settled(page)
        return page

    def blank(
        self,
        *,
        scheme: Scheme = "light",
        size: tuple[int, int] = WIDE,
        script: bool = True,
        bypass_csp: bool = False,
        scale: float = 1,
    ) -> Page:
        """An empty page that is watched."""
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            device_scale_factor=scale,
            color_scheme=scheme,
            # What moves would be a different picture every time.
            reduced_motion="reduce",
            java_script_enabled=script,
            bypass_csp=bypass_csp,
            locale="en-GB",
            timezone_id="UTC",
        )
        context.set_default_timeout(TIMEOUT_MS)
        context.add_init_script(_NOTE_VIOLATIONS)
        self._contexts.append(context)
        page = context.new_page()
        self._watch(page)
        return page

    def close(self) -> None:
        """Close every page; what went wrong stays."""
        while self._contexts:
            self._contexts.pop().close()

    def _watch(self, page: Page) -> None:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        page.on("request", self._asked)
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not _tells_of_an_answer(message):
            self.faults.append(f"console {message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.faults.append(f"request to another host: {request.url}")

    def _failed(self, request: Request) -> None:
        # Whoever goes to another page takes back what the last one still waited for.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"failed request: {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.faults.append(f"failed request: {response.url} {response.status}")


def _tells_of_an_answer(message: ConsoleMessage) -> bool:
    """Chromium also writes down every status of 400 or more; ``_answered`` knows which are asked for."""
    return message.text.startswith("Failed to load resource: the server responded with a status")


def settled(page: Page) -> None:
    """Return when every chart is drawn and what is fetched later has come; AssertionError if one never does."""
    page.wait_for_load_state("load")
    for late in ("figure.chart:not(.drawn)", "[aria-busy=true]"):
        expect(page.locator(late)).to_have_count(0, timeout=TIMEOUT_MS)
