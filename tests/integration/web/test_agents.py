"""Pages of the agents: health, reported status, gaps."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from leadline_collector.db import tables
from leadline_collector.db.engine import Database
from tests.integration.conftest import Client
from tests.integration.web.test_pages import SIMULATED, Html, blanks, page_at, parsed
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_batch, build_steady_window

one_store = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
NS_PER_S = 1_000_000_000
#: Time of the test clock.
CLOCK_S = NOW_S + 3_600


def row(page: Html, agent: str) -> str:
    """Return the text of an agent's row in the list."""
    (found,) = [element for element in page.all("tr") if blanks(element.text).startswith(f"{agent} ")]
    return blanks(found.text)


def deliver(client: Client, key: str, *ago: int) -> None:
    """Send windows of fra1 that began this many minutes ago."""
    windows = [("ams1", build_steady_window(4_900, CLOCK_S - 60 * minutes)) for minutes in ago]
    assert client.post(build_batch(*windows), key).status == 200


@pytest.mark.both_databases
def test_row_shows_the_reported_status(client: Client, fra1: str, database: Database) -> None:
    """Spool, clock, version and time have units. Missing values read "not reported"."""
    deliver(client, fra1, 3, 2)
    told = {
        "src_id": 1, "heard_at": CLOCK_S - 30, "latest_t": CLOCK_S - 120, "version": "0.1.0", "spool_batches": 3,
        "spool_bytes": 6 << 20, "spool_bytes_max": 1 << 30, "clock_offset_us": -250, "clock_offset_error_us": 900,
        "ntp_synchronised": True, "updated_at": CLOCK_S,
    }  # fmt: skip
    with database.write() as connection:
        connection.execute(insert(tables.agent_now), [told])

    page = page_at(client, "/agents")

    assert row(page, "fra1").startswith("fra1 fra ok 06:59, 1 min ago 06:59, 30 s ago")
    assert "3 waiting, 6 MiB of 1 GiB 1 %" in row(page, "fra1")
    assert "\u22120.250 ms ± 0.900 ms NTP synchronised 0.1.0 no expiry not signed" in row(page, "fra1")
    assert row(page, "fra2").startswith(
        "fra2 fra never heard no valid key none not reported \u2013 not reported not reported"
    )


def test_silent_agent_is_first_and_has_an_open_gap(client: Client, fra1: str, clock: FakeClock) -> None:
    """The clock advances by six minutes."""
    deliver(client, fra1, 3, 2)
    clock.advance(6 * 60 * NS_PER_S)

    page = page_at(client, "/agents")

    assert [blanks(element.text).split()[0] for element in page.all("tr")][1:] == ["fra1", "ams1", "fra2"]
    assert "silent" in row(page, "fra1")
    assert "one open" in row(page, "fra1")
    assert "still open" in page_at(client, "/agents/fra1").text()


@pytest.mark.both_databases
def test_agent_page_explains_gaps(client: Client, fra1: str) -> None:
    """A gap has start, end, length, windows, reason and source."""
    deliver(client, fra1, 20, 19, 9, 8)

    page = page_at(client, "/agents/fra1")

    rows = [blanks(element.text) for element in page.all("tr")]
    hole = next(text for text in rows if text.startswith("2026-11-22 06:42 UTC"))
    assert hole.startswith("2026-11-22 06:42 UTC 2026-11-22 06:51 UTC 9 minutes 9 ")
    assert "found by the collector" in hole
    assert len(page.all("dt")) > 8


def test_agent_page_lists_paths_and_keys(client: Client, fra1: str) -> None:
    """Each target has its address and a link to its pair."""
    page = page_at(client, "/agents/fra1")

    assert "ams1 ams 192.0.2.3 1000 ms" in page.text()
    assert page.all("a", href="/pairs/fra/ams")
    assert "first used" not in page.text()
    assert "No window delivered yet" in page.text()


def test_retired_agent_stays_in_the_list(client: Client, fra1: str) -> None:
    """An agent that is not in the active mesh keeps its row."""
    mesh = str(client.get("/api/v1/mesh")["text"]).replace('name = "fra2"', 'name = "fra3"')
    assert client.apply(mesh).status == 200

    assert "not in the mesh" in row(page_at(client, "/agents"), "fra2")


@one_store
def test_page_without_a_mesh_lists_the_commands(client: Client) -> None:
    """The three commands are in order."""
    text = page_at(client, "/agents").text()

    assert text.index("leadline mesh apply") < text.index("leadline token create") < text.index("leadline agent enroll")


@one_store
@pytest.mark.parametrize("name", ["nobody", "%3Cscript%3E", "import%3Afra2"])
def test_unknown_agent_is_a_problem_page(client: Client, fra1: str, name: str) -> None:
    """The page has status 404 and the name as text."""
    answer = client.send("GET", f"/agents/{name}")

    assert answer.status == 404
    assert "no mesh ever had an agent" in parsed(answer).text()


def test_minutes_before_the_first_window_are_not_gaps(client: Client, fra1: str) -> None:
    """The page shows the start of the first window."""
    deliver(client, fra1, 5, 4, 3)

    page = page_at(client, "/agents/fra1")

    assert "none" in row(page_at(client, "/agents"), "fra1")
    assert "None: every window of every path was delivered" in page.text()
    assert "First window: 2026-11-22 06:55 UTC" in page.text()


def test_agents_of_simulated_sites_share_a_row(client: Client) -> None:
    """Each of them still has a page."""
    client.apply(SIMULATED)

    page = page_at(client, "/agents")

    (shared,) = [
        blanks(element.text) for element in page.all("tr") if "data for these sites is simulated" in element.text
    ]
    assert shared.startswith(("1 simulated", "2 simulated", "3 simulated"))
    assert page.all("a", href="/agents/fra1")
    assert page_at(client, "/agents/fra1").all("p", class_="band")
