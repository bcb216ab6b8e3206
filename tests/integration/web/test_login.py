"""Signing in to the pages: who gets a session, how long it holds, and what never does."""

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
    """A collector whose readers need a key."""
    with serve_in_thread(replace(config, viewer_key_file=key_file), store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        yield client
        client.pool.clear()


def sign_in(client: Client, key: str = KEY, next_path: str = "/", **headers: str) -> Answer:
    """What the form sends."""
    return client.send("POST", "/login", urlencode({"key": key, "next": next_path}), None, **(FORM | headers))


def cookie(answer: Answer) -> str:
    """The session in an answer, as a browser sends it back."""
    return str(answer.headers["Set-Cookie"]).partition(";")[0]


def test_a_page_without_a_key_leads_to_the_login_and_back(guarded: Client) -> None:
    """With its whole address; after signing in the browser is where it wanted to be."""
    wanted = "/?profile=vsan-stretched&from=-7d"

    asked = guarded.send("GET", wanted)
    location = asked.headers["Location"]
    form = parsed(guarded.send("GET", location))
    (field,) = form.all("input", name="next")
    answer = sign_in(guarded, next_path=str(field.attributes["value"]))

    assert (asked.status, answer.status) == (303, 303)
    assert answer.headers["Location"] == wanted
    assert guarded.send("GET", wanted, Cookie=cookie(answer)).status == 200


def test_the_api_answers_401_where_a_page_leads_to_the_login(guarded: Client) -> None:
    """A program is told that it needs a key; a session opens what the pages link to."""
    path = "/api/v1/profiles"

    assert guarded.send("GET", path).status == 401
    assert guarded.send("GET", path, Cookie=cookie(sign_in(guarded))).status == 200


def test_a_session_changes_nothing(guarded: Client) -> None:
    """Signed in with the administrator's key or the viewer's: what changes something needs a key in the header."""
    for key in (KEY, guarded.admin_key):
        session = cookie(sign_in(guarded, key))

        assert guarded.send("GET", "/", Cookie=session).status == 200
        assert guarded.send("POST", "/api/v1/tokens", b'{"site": "fra"}', Cookie=session).status == 401
        assert guarded.send("GET", "/api/v1/audit", Cookie=session).status == 401


@pytest.mark.parametrize("key", ["", "wrong", KEY + "x", KEY.upper()])
def test_a_wrong_key_gets_the_form_again(guarded: Client, key: str) -> None:
    """401, no cookie, and one sentence for every reason."""
    answer = sign_in(guarded, key)

    assert (answer.status, answer.headers.get("Set-Cookie")) == (401, None)
    assert "not valid here" in parsed(answer).text()


def test_whoever_guesses_waits(guarded: Client, clock: FakeClock) -> None:
    """After twenty wrong keys even the right one waits; a minute later it opens."""
    found = [sign_in(guarded, "wrong").status for _ in range(FAILURES_PER_PERIOD_MAX)]
    waiting = sign_in(guarded)
    clock.advance(60 * NS_PER_S)

    assert set(found) == {401}
    assert (waiting.status, waiting.headers["Retry-After"]) == (429, "60")
    assert sign_in(guarded).status == 303


@pytest.mark.parametrize(
    "elsewhere",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\nb", "", "map", "/" * 3],
)
def test_signing_in_never_leads_elsewhere(guarded: Client, elsewhere: str) -> None:
    """What is no path of this collector becomes the matrix."""
    assert sign_in(guarded, next_path=elsewhere).headers["Location"] == "/"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_form_of_another_site_signs_nobody_in_or_out(guarded: Client, origin: str) -> None:
    """The browser says where a POST comes from."""
    session = cookie(sign_in(guarded))

    assert sign_in(guarded, Origin=origin).status == 403
    assert guarded.send("POST", "/logout", Cookie=session, Origin=origin).status == 403


def test_the_own_form_is_believed(guarded: Client) -> None:
    """An Origin of this collector is no obstacle."""
    assert sign_in(guarded, Origin=guarded.url).status == 303


def test_signing_out_forgets_the_session(guarded: Client) -> None:
    """The page offers it only to whoever signed in; the cookie is taken back."""
    session = cookie(sign_in(guarded))

    shown = parsed(guarded.send("GET", "/", Cookie=session))
    by_key = parsed(guarded.send("GET", "/", key=KEY))
    answer = guarded.send("POST", "/logout", Cookie=session)

    assert [len(one.all("form", action="/logout")) for one in (shown, by_key)] == [1, 0]
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


def test_a_session_ends_after_twelve_hours(guarded: Client, clock: FakeClock) -> None:
    """By the collector's clock, whatever the browser keeps."""
    session = cookie(sign_in(guarded))

    clock.advance((sessions.SESSION_LIFETIME_S - 1) * NS_PER_S)
    before = guarded.send("GET", "/", Cookie=session).status
    clock.advance(NS_PER_S)

    assert (before, guarded.send("GET", "/", Cookie=session).status) == (200, 303)


@pytest.mark.parametrize("value", ["", ".", "x.y", "\xff\xfe.\x80", "9" * 5_000])
def test_a_cookie_that_is_no_session_leads_to_the_login(guarded: Client, value: str) -> None:
    """As no cookie does, whatever its bytes are."""
    assert guarded.send("GET", "/", Cookie=f"leadline={value}").status == 303


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(guarded: Client) -> None:
    """HttpOnly, SameSite=Lax, and it does not hold the key."""
    given = str(sign_in(guarded).headers["Set-Cookie"])

    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in given.split(";")}
    assert KEY not in given


def test_behind_tls_the_cookie_travels_over_tls_only(
    config: CollectorConfig, store: Store, clock: FakeClock, key_file: Path
) -> None:
    """Secure, under a name that browsers accept from this host only; the proxy's host is the form's."""
    proxied = replace(config, viewer_key_file=key_file, behind_proxy=True)
    with serve_in_thread(proxied, store, clock) as url:
        client = Client(url=url, admin_key="")
        answer = sign_in(client, Host="leadline.example", Origin="https://leadline.example")
        client.pool.clear()

    assert str(answer.headers["Set-Cookie"]).startswith("__Host-leadline=")
    assert "Secure" in str(answer.headers["Set-Cookie"])


def test_collectors_with_one_key_share_sessions_and_another_key_ends_them(
    config: CollectorConfig, store: Store, clock: FakeClock, key_file: Path, guarded: Client
) -> None:
    """Behind a balancer any collector takes the cookie; after the key was changed none does."""
    session = cookie(sign_in(guarded))

    found = []
    for key in (KEY, "ll_another_viewer_0123456789"):
        key_file.write_text(key)
        with serve_in_thread(replace(config, viewer_key_file=key_file), store, clock) as url:
            client = Client(url=url, admin_key="")
            found.append(client.send("GET", "/", Cookie=session).status)
            client.pool.clear()

    assert found == [200, 303]


def test_the_form_where_no_key_is_needed_leads_on(client: Client) -> None:
    """On loopback there is nothing to sign in to."""
    answer = client.send("GET", "/login?next=/limits")

    assert (answer.status, answer.headers["Location"]) == (303, "/limits")
