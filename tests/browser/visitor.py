"""Opens pages in a browser and records faults.

Faults are: an error or a warning on the console, an exception, a violation of the Content-Security-Policy, a failed
request, and a request to another host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, expect

#: Size of the viewport in CSS pixels, of a screen and of a phone.
WIDE, PHONE = (1_400, 900), (390, 844)
#: Verdicts over a month take a second or two, and the machine may be busy.
TIMEOUT_MS = 60_000
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

#: Runs in every page before its own scripts.
_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", event =>
  console.error(`violates ${event.effectiveDirective}: ${event.blockedURI} ${event.sample}`))
"""


# Without slots: Playwright sets attributes on objects that provide event handlers.
@dataclass(kw_only=True)
class Visitor:
    """Opens pages of one collector, each in a new profile, and records their faults."""

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
        """Open a page of the collector and wait until it is drawn. ``script`` False disables JavaScript."""
        page = self.blank(scheme=scheme, size=size, script=script, bypass_csp=bypass_csp, scale=scale)
        response = page.goto(self.origin + path)
        assert response is not None
        assert response.status == status, f"{path}: {response.status}"
        if script:
            wait_until_drawn(page)
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
        """Open an empty page."""
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            device_scale_factor=scale,
            color_scheme=scheme,
            # Animations would make every screenshot different.
            reduced_motion="reduce",
            java_script_enabled=script,
            bypass_csp=bypass_csp,
            locale="en-GB",
            timezone_id="UTC",
        )
        context.set_default_timeout(TIMEOUT_MS)
        context.add_init_script(_REPORT_VIOLATIONS)
        self._contexts.append(context)
        page = context.new_page()
        self._watch(page)
        return page

    def close(self) -> None:
        """Close all pages; the faults remain."""
        while self._contexts:
            self._contexts.pop().close()

    def _watch(self, page: Page) -> None:
        page.on("console", self._check_message)
        page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        page.on("request", self._check_request)
        page.on("requestfailed", self._check_failed_request)
        page.on("response", self._check_response)

    def _check_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not _reports_status(message):
            self.faults.append(f"console {message.type}: {message.text}")

    def _check_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.faults.append(f"request to another host: {request.url}")

    def _check_failed_request(self, request: Request) -> None:
        # Navigation to another page aborts the requests of the previous one.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"failed request: {request.url} {request.failure}")

    def _check_response(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.faults.append(f"failed request: {response.url} {response.status}")


def _reports_status(message: ConsoleMessage) -> bool:
    """Return True for Chromium's message about a status of 400 or more; ``_check_response`` checks the status."""
    return message.text.startswith("Failed to load resource: the server responded with a status")


def query_params(page: Page) -> dict[str, str]:
    """Return the query parameters of the page's URL, without empty ones."""
    return {name: values[-1] for name, values in parse_qs(urlsplit(page.url).query).items()}


def wait_until_drawn(page: Page) -> None:
    """Wait until all charts are drawn and all fragments are loaded; raise AssertionError after a timeout."""
    page.wait_for_load_state("load")
    for pending in ("figure.chart:not(.drawn)", "[aria-busy=true]"):
        expect(page.locator(pending)).to_have_count(0, timeout=TIMEOUT_MS)
