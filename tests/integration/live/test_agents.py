"""Stored status of agents: the newest report of any collector, and nothing from a wrong clock."""

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
    """Return the stored row of an agent."""
    with site.store.read() as reader:
        return live_store.load_agents(reader.connection)[site.agents[agent].id]


def make_report_cache(site: RollupFixture, at_s: int, spool: str = SPOOL) -> ReportCache:
    """Return the cache of a collector that received a report and a batch of fra1 at that time."""
    report_cache = ReportCache()
    report_cache.record_report(site.agents["fra1"].id, at_s, AGENT, spool)
    report_cache.record_batch(site.agents["fra1"].id, at_s)
    return report_cache


def test_an_agent_that_never_delivered_has_an_empty_row(site: RollupFixture) -> None:
    """Dashboards can show it as missing."""
    assert live_agents.refresh_agents(site.store, NOW_S, ReportCache()) == 3

    stored = row(site)
    assert stored[1:-1] == (None,) * 9
    assert stored.updated_at == NOW_S


def test_values_come_from_the_journal_after_a_restart(site: RollupFixture) -> None:
    """Receipt, newest window and clock of the newest batch."""
    site.store_windows(build_steady_window(3_000), build_steady_window(3_000, NOW_S + 60))
    site.store_windows(build_steady_window(3_000, NOW_S - 3_600), received_s=NOW_S + 500)
    with site.store.write() as writer:
        clock = {"clock_offset_us": -7, "clock_offset_error_us": 3, "ntp_synchronised": True}
        writer.connection.execute(update(batch).where(batch.c.t_last == NOW_S + 60).values(clock))

    live_agents.refresh_agents(site.store, NOW_S + 600, ReportCache())

    stored = row(site)
    assert (stored.heard_at, stored.latest_t) == (NOW_S + 150, NOW_S + 60)
    assert (stored.clock_offset_us, stored.clock_offset_error_us, stored.ntp_synchronised) == (-7, 3, True)
    assert (stored.version, stored.spool_batches) == (None, None)


def test_a_report_is_stored_and_stays(site: RollupFixture) -> None:
    """A refresh by a collector without reports, or after a restart, does not overwrite it."""
    live_agents.refresh_agents(site.store, NOW_S, make_report_cache(site, NOW_S - 5))
    first = row(site)
    live_agents.refresh_agents(site.store, NOW_S + 60, ReportCache())

    assert (first.heard_at, first.version, first.spool_batches, first.spool_bytes, first.spool_bytes_max) == (
        NOW_S - 5, "1.2", 3, 400, 5_000,
    )  # fmt: skip
    assert row(site) == first._replace(updated_at=NOW_S + 60)


def test_the_report_of_a_later_collector_wins(site: RollupFixture) -> None:
    """An agent moved to a second collector; the report in the first one is older than the stored row."""
    old = make_report_cache(site, NOW_S)
    live_agents.refresh_agents(site.store, NOW_S + 1, old)
    later = NOW_S + REPORT_S_MAX + 60

    live_agents.refresh_agents(site.store, later, make_report_cache(site, later, "batches=0, bytes=0, max=5000"))
    live_agents.refresh_agents(site.store, later + 30, old)

    assert (row(site).heard_at, row(site).spool_batches) == (later, 0)


def test_malformed_headers_are_ignored(site: RollupFixture) -> None:
    """The previous report stays."""
    report_cache = make_report_cache(site, NOW_S)
    report_cache.record_report(site.agents["fra1"].id, NOW_S + 1, "curl/8", "batches=many")

    live_agents.refresh_agents(site.store, NOW_S + 2, report_cache)

    assert report_cache.get_reports()[site.agents["fra1"].id].backlog == SpoolBacklog(
        batches=3, bytes=400, bytes_max=5_000
    )
    assert row(site).version == "1.2"


def test_a_row_from_the_future_is_replaced(site: RollupFixture) -> None:
    """A collector's clock was ten days ahead."""
    live_agents.refresh_agents(site.store, NOW_S + 10 * DAY_S, make_report_cache(site, NOW_S + 10 * DAY_S))

    live_agents.refresh_agents(site.store, NOW_S, make_report_cache(site, NOW_S))

    assert row(site).heard_at == NOW_S


def test_the_later_of_two_writers_wins(site: RollupFixture) -> None:
    """A writer that is a minute behind changes nothing."""
    live_agents.refresh_agents(site.store, NOW_S + 60, make_report_cache(site, NOW_S + 50))

    live_agents.refresh_agents(site.store, NOW_S, ReportCache())

    assert row(site).updated_at == NOW_S + 60


def test_an_agent_removed_from_the_mesh_has_no_row(site: RollupFixture, clock: FakeClock) -> None:
    """It must not be reported as silent."""
    live_agents.refresh_agents(site.store, NOW_S, ReportCache())
    mesh_service.apply_mesh(site.store, clock, MESH.replace('name = "fra2"', 'name = "fra3"').encode())

    live_agents.refresh_agents(site.store, NOW_S + 60, ReportCache())

    with site.store.read() as reader:
        assert site.agents["fra2"].id not in live_store.load_agents(reader.connection)
        assert len(live_store.load_agents(reader.connection)) == 3


def test_columns_store_the_largest_accepted_numbers(site: RollupFixture) -> None:
    """Fifteen digits fit into a BIGINT."""
    live_agents.refresh_agents(
        site.store, NOW_S, make_report_cache(site, NOW_S, f"batches={10**15 - 1}, bytes={10**15 - 1}, max={10**15 - 1}")
    )

    assert row(site).spool_bytes == 10**15 - 1
