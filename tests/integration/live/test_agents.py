"""What is stored of agents: the newest anybody heard, also of another collector, and nothing of a clock gone wrong."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from leadline.wire.headers import SpoolBacklog
from leadline_collector.db.tables import batch
from leadline_collector.db.transactions import Store
from leadline_collector.live import agents as live_agents
from leadline_collector.live import store as live_store
from leadline_collector.live.agents import REPORT_S_MAX, ReportCache
from leadline_collector.live.store import AgentNowRow
from leadline_collector.mesh import service as mesh_service
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, build_steady_window
from tests.support.rollup_data import DAY_S, RollupFixture

AGENT = "leadline-agent/1.2"
SPOOL = "batches=3, bytes=400, max=5000"


@pytest.fixture(name="site")
def _site(store: Store, clock: FakeClock) -> RollupFixture:
    return RollupFixture(store, clock)


def row(site: RollupFixture, agent: str = "fra1") -> AgentNowRow:
    """What is stored of an agent."""
    with site.store.read() as reader:
        return live_store.load_agents(reader.connection)[site.agents[agent].id]


def heard(site: RollupFixture, at_s: int, spool: str = SPOOL) -> ReportCache:
    """A collector that heard fra1 at that time."""
    hearing = ReportCache()
    hearing.record_report(site.agents["fra1"].id, at_s, AGENT, spool)
    hearing.record_batch(site.agents["fra1"].id, at_s)
    return hearing


def test_an_agent_that_never_came_has_a_row_of_nothing(site: RollupFixture) -> None:
    """So that it is seen as missing."""
    assert live_agents.refresh_agents(site.store, NOW_S, ReportCache()) == 3

    found = row(site)
    assert found[1:-1] == (None,) * 9
    assert found.updated_at == NOW_S


def test_the_journal_tells_what_nobody_remembers(site: RollupFixture) -> None:
    """After a start: the newest batch's receipt, its newest window, and its clock."""
    site.store_windows(build_steady_window(3_000), build_steady_window(3_000, NOW_S + 60))
    site.store_windows(build_steady_window(3_000, NOW_S - 3_600), received_s=NOW_S + 500)
    with site.store.write() as writer:
        clock = {"clock_offset_us": -7, "clock_offset_error_us": 3, "ntp_synchronised": True}
        writer.connection.execute(update(batch).where(batch.c.t_last == NOW_S + 60).values(clock))

    live_agents.refresh_agents(site.store, NOW_S + 600, ReportCache())

    found = row(site)
    assert (found.heard_at, found.latest_t) == (NOW_S + 150, NOW_S + 60)
    assert (found.clock_offset_us, found.clock_offset_error_us, found.ntp_synchronised) == (-7, 3, True)
    assert (found.version, found.spool_batches) == (None, None)


def test_what_was_heard_is_stored_and_stays(site: RollupFixture) -> None:
    """Also where a collector that heard nothing writes after the one that did, or the process is started anew."""
    live_agents.refresh_agents(site.store, NOW_S, heard(site, NOW_S - 5))
    first = row(site)
    live_agents.refresh_agents(site.store, NOW_S + 60, ReportCache())

    assert (first.heard_at, first.version, first.spool_batches, first.spool_bytes, first.spool_bytes_max) == (
        NOW_S - 5, "1.2", 3, 400, 5_000,
    )  # fmt: skip
    assert row(site) == first._replace(updated_at=NOW_S + 60)


def test_an_agent_that_moved_to_another_collector_is_told_by_that_one(site: RollupFixture) -> None:
    """What the first remembers is older than what the second wrote."""
    old = heard(site, NOW_S)
    live_agents.refresh_agents(site.store, NOW_S + 1, old)
    later = NOW_S + REPORT_S_MAX + 60

    live_agents.refresh_agents(site.store, later, heard(site, later, "batches=0, bytes=0, max=5000"))
    live_agents.refresh_agents(site.store, later + 30, old)

    assert (row(site).heard_at, row(site).spool_batches) == (later, 0)


def test_malformed_headers_are_passed_over(site: RollupFixture) -> None:
    """What was known before stays."""
    hearing = heard(site, NOW_S)
    hearing.record_report(site.agents["fra1"].id, NOW_S + 1, "curl/8", "batches=many")

    live_agents.refresh_agents(site.store, NOW_S + 2, hearing)

    assert hearing.get_reports()[site.agents["fra1"].id].backlog == SpoolBacklog(batches=3, bytes=400, bytes_max=5_000)
    assert row(site).version == "1.2"


def test_a_row_of_the_future_does_not_stay(site: RollupFixture) -> None:
    """A collector's clock was ten days ahead for a while."""
    live_agents.refresh_agents(site.store, NOW_S + 10 * DAY_S, heard(site, NOW_S + 10 * DAY_S))

    live_agents.refresh_agents(site.store, NOW_S, heard(site, NOW_S))

    assert row(site).heard_at == NOW_S


def test_of_two_writers_the_later_stays(site: RollupFixture) -> None:
    """One that is behind by a minute changes nothing."""
    live_agents.refresh_agents(site.store, NOW_S + 60, heard(site, NOW_S + 50))

    live_agents.refresh_agents(site.store, NOW_S, ReportCache())

    assert row(site).updated_at == NOW_S + 60


def test_an_agent_that_the_mesh_has_no_more_has_no_row(site: RollupFixture, clock: FakeClock) -> None:
    """Nobody is told for ever that it is silent."""
    live_agents.refresh_agents(site.store, NOW_S, ReportCache())
    mesh_service.apply_mesh(site.store, clock, MESH.replace('name = "fra2"', 'name = "fra3"').encode())

    live_agents.refresh_agents(site.store, NOW_S + 60, ReportCache())

    with site.store.read() as reader:
        assert site.agents["fra2"].id not in live_store.load_agents(reader.connection)
        assert len(live_store.load_agents(reader.connection)) == 3


def test_columns_hold_the_largest_numbers_that_are_believed(site: RollupFixture) -> None:
    """Fifteen digits, in a BIGINT."""
    live_agents.refresh_agents(
        site.store, NOW_S, heard(site, NOW_S, f"batches={10**15 - 1}, bytes={10**15 - 1}, max={10**15 - 1}")
    )

    assert row(site).spool_bytes == 10**15 - 1
