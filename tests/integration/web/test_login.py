"""Login of the pages: sessions, their lifetime, refused forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

from leadline_collector.auth.failure_limit import FAILURES_PER_PERIOD_MAX
from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.http import sessions
from leadline_collector.server.serve import serve_in_thread
from tests.integration.conftest import Answer, Client
from tests.integration.web.test_pages import parsed
from tests.support.clock import FakeClock

pytestmark = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

KEY = "ll_viewer_0123456789abcdef"
NS_PER_S = 1_000_000_000
FORM = {"Content_Type": "application/x-www-form-urlencoded"}


@pytest.fixture(name="key_file")
def _key_file(tmp_path: Path) -> Path:
    path = tmp_path / "viewer.key"
    path.write_text(KEY + "\n")
    return path


@pytest.fixture(name="guarded")
def _guarded(config: CollectorConfig, store: Store, clock: FakeClock, key_file: Path) -> Iterator[Client]:
    """Run a collector that requires a key for reading."""
    with serve_in_thread(replace(config, viewer_key_file=key_file), store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        yield client
        client.pool.clear()


def sign_in(client: Client, key: str = KEY, next_path: str = "/", **headers: str) -> Answer:
    """Send the login form."""
    return client.send("POST", "/login", urlencode({"key": key, "next": next_path}), None, **(FORM | headers))


def cookie(answer: Answer) -> str:
    """Return the session cookie of an answer, as a browser sends it back."""
    return str(answer.headers["Set-Cookie"]).partition(";")[0]


def test_page_without_a_key_redirects_to_the_login_and_back(guarded: Client) -> None:
    """The login keeps the whole URL."""
    path = "/?profile=vsan-stretched&from=-7d"

    redirect = guarded.send("GET", path)
    location = redirect.headers["Location"]
    form = parsed(guarded.send("GET", location))
    (field,) = form.all("input", name="next")
    answer = sign_in(guarded, next_path=str(field.attributes["value"]))

    assert (redirect.status, answer.status) == (303, 303)
    assert answer.headers["Location"] == path
    assert guarded.send("GET", path, Cookie=cookie(answer)).status == 200


def test_api_answers_401_instead_of_a_redirect(guarded: Client) -> None:
    """A session is valid for the API URLs that pages link to."""
    path = "/api/v1/profiles"

    assert guarded.send("GET", path).status == 401
    assert guarded.send("GET", path, Cookie=cookie(sign_in(guarded))).status == 200


def test_session_is_read_only(guarded: Client) -> None:
    """Changes need a key in the header, even in a session of the administrator."""
    for key in (KEY, guarded.admin_key):
        session = cookie(sign_in(guarded, key))

        assert guarded.send("GET", "/", Cookie=session).status == 200
        assert guarded.send("POST", "/api/v1/tokens", b'{"site": "fra"}', Cookie=session).status == 401
        assert guarded.send("GET", "/api/v1/audit", Cookie=session).status == 401


@pytest.mark.parametrize("key", ["", "wrong", KEY + "x", KEY.upper()])
def test_wrong_key_gets_the_form_again(guarded: Client, key: str) -> None:
    """The answer is 401 without a cookie, with the same text for every wrong key."""
    answer = sign_in(guarded, key)

    assert (answer.status, answer.headers.get("Set-Cookie")) == (401, None)
    assert "Invalid key" in parsed(answer).text()


def test_failed_logins_are_rate_limited(guarded: Client, clock: FakeClock) -> None:
    """After 20 wrong keys even the right key is refused for a minute."""
    statuses = [sign_in(guarded, "wrong").status for _ in range(FAILURES_PER_PERIOD_MAX)]
    refused = sign_in(guarded)
    clock.advance(60 * NS_PER_S)

    assert set(statuses) == {401}
    assert (refused.status, refused.headers["Retry-After"]) == (429, "60")
    assert sign_in(guarded).status == 303


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\nb", "", "map", "/" * 3],
)
def test_login_redirects_to_this_host_only(guarded: Client, target: str) -> None:
    """An invalid path becomes the matrix."""
    assert sign_in(guarded, next_path=target).headers["Location"] == "/"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_cross_site_form_is_refused(guarded: Client, origin: str) -> None:
    """The collector compares Origin with Host."""
    session = cookie(sign_in(guarded))

    assert sign_in(guarded, Origin=origin).status == 403
    assert guarded.send("POST", "/logout", Cookie=session, Origin=origin).status == 403


def test_same_site_form_is_accepted(guarded: Client) -> None:
    """The Origin is this collector's."""
    assert sign_in(guarded, Origin=guarded.url).status == 303


def test_sign_out_deletes_the_session_cookie(guarded: Client) -> None:
    """Only pages of a session have the button."""
    session = cookie(sign_in(guarded))

    by_session = parsed(guarded.send("GET", "/", Cookie=session))
    by_key = parsed(guarded.send("GET", "/", key=KEY))
    answer = guarded.send("POST", "/logout", Cookie=session)

    assert [len(page.all("form", action="/logout")) for page in (by_session, by_key)] == [1, 0]
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


def test_session_expires_after_12_hours(guarded: Client, clock: FakeClock) -> None:
    """The collector's clock decides."""
    session = cookie(sign_in(guarded))

    clock.advance((sessions.SESSION_LIFETIME_S - 1) * NS_PER_S)
    before = guarded.send("GET", "/", Cookie=session).status
    clock.advance(NS_PER_S)

    assert (before, guarded.send("GET", "/", Cookie=session).status) == (200, 303)


@pytest.mark.parametrize("value", ["", ".", "x.y", "\xff\xfe.\x80", "9" * 5_000])
def test_invalid_cookie_redirects_to_the_login(guarded: Client, value: str) -> None:
    """Any bytes are handled like a missing cookie."""
    assert guarded.send("GET", "/", Cookie=f"leadline={value}").status == 303


def test_cookie_is_http_only_and_same_site(guarded: Client) -> None:
    """The cookie does not contain the key."""
    header = str(sign_in(guarded).headers["Set-Cookie"])

    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in header.split(";")}
    assert KEY not in header


def test_cookie_is_secure_behind_a_proxy(
    config: CollectorConfig, store: Store, clock: FakeClock, key_file: Path
) -> None:
    """Its name has the prefix __Host-. The form's Origin is the host that the proxy passes on."""
    proxied = replace(config, viewer_key_file=key_file, behind_proxy=True)
    with serve_in_thread(proxied, store, clock) as url:
        client = Client(url=url, admin_key="")
        answer = sign_in(client, Host="leadline.example", Origin="https://leadline.example")
        client.pool.clear()

    assert str(answer.headers["Set-Cookie"]).startswith("__Host-leadline=")
    assert "Secure" in str(answer.headers["Set-Cookie"])


def test_collectors_with_the_same_key_share_sessions(
    config: CollectorConfig, store: Store, clock: FakeClock, key_file: Path, guarded: Client
) -> None:
    """A changed key ends all sessions."""
    session = cookie(sign_in(guarded))

    statuses = []
    for key in (KEY, "ll_another_viewer_0123456789"):
        key_file.write_text(key)
        with serve_in_thread(replace(config, viewer_key_file=key_file), store, clock) as url:
            client = Client(url=url, admin_key="")
            statuses.append(client.send("GET", "/", Cookie=session).status)
            client.pool.clear()

    assert statuses == [200, 303]


def test_login_redirects_if_no_key_is_required(client: Client) -> None:
    """A collector on loopback needs no key."""
    answer = client.send("GET", "/login?next=/limits")

    assert (answer.status, answer.headers["Location"]) == (303, "/limits")
