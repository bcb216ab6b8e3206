"""Keeps the rules that windows are counted by in step with the mesh: a new one counts everything there is first."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, func, select

from leadline_collector.db.tables import rollup_hour, tally_day, tally_hour
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import registry
from leadline_collector.mesh.registry import Registry
from leadline_collector.rollup import compaction, hour_reader, profile_revisions
from leadline_collector.rollup.compaction import SITE_LOCK
from leadline_collector.rollup.profile_revisions import ProfileRevision
from leadline_collector.windows.dirty_hours import DAY_S


def sync_revisions(store: Store) -> None:
    """Forget the rules that nobody wants any more, add those that are missing, and count by those that are new."""
    with store.read() as reader:
        wanted, known = (
            profile_revisions.load_active_profiles(reader),
            profile_revisions.load_revision_ids(reader.connection),
        )
        sites = registry.load_registry(reader.connection)
    unwanted = [number for sha256, number in known.items() if sha256 not in wanted]
    if unwanted:
        _delete_revisions(store, unwanted, sites)
    missing = {sha256: profile for sha256, profile in wanted.items() if sha256 not in known}
    if missing:
        with store.write() as writer:
            profile_revisions.add_revisions(writer.connection, missing)
    with store.read() as reader:
        fresh = [rule for rule in profile_revisions.load_current_revisions(reader.connection) if not rule.is_complete]
    counted = [_recount_site(store, source_id, fresh) for source_id in sites.agents_by_site] if fresh else []
    if fresh and all(counted):
        with store.write() as writer:
            profile_revisions.set_complete(writer.connection, [rule.id for rule in fresh])


def _delete_revisions(store: Store, ids: Collection[int], registry: Registry) -> None:
    """First it is no longer believed, then its tallies go, site by site, so that no transaction is long."""
    with store.write() as writer:
        profile_revisions.set_complete(writer.connection, ids, complete=False)
    for source_id in registry.agents_by_site:
        for table in (tally_hour, tally_day):
            with store.write() as writer:
                column = table.c
                writer.connection.execute(delete(table).where(column.source_id == source_id, column.rule_id.in_(ids)))
    with store.write() as writer:
        profile_revisions.delete_revisions(writer.connection, ids)


def _recount_site(store: Store, source_id: int, revisions: Collection[ProfileRevision]) -> bool:
    """Count every hour and day of a site by the new rules; False if somebody else has the site."""
    with store.try_lock(SITE_LOCK, source_id) as is_ours:
        if not is_ours:
            return False
        with store.read() as reader:
            src_ids = registry.load_registry(reader.connection).agents_by_site[source_id]
            column = rollup_hour.c
            condition = hour_reader.build_path_condition(column, src_ids, None, 0, 1 << 62)
            first_s, last_s = reader.connection.execute(
                select(func.min(column.t), func.max(column.t)).where(condition)
            ).one()
        if first_s is not None:
            for day_s in range(first_s - first_s % DAY_S, last_s + 1, DAY_S):
                _recount_day(store, source_id, day_s, revisions)
        return True


def _recount_day(store: Store, source_id: int, day_s: int, revisions: Collection[ProfileRevision]) -> None:
    """What is marked counts as it is: it will be compacted, and counted, anew."""
    with store.read() as reader:
        known = registry.load_registry(reader.connection)
        windows = hour_reader.load_hours(reader.connection, known.agents_by_site[source_id], day_s, day_s + DAY_S)
        hours = [row for rule in revisions for row in compaction.build_tally_rows(windows, rule, known)]
        days = [row for rule in revisions for row in compaction.build_day_tally_rows(windows, rule, known, day_s)]
    store.ensure_partitions([day_s])
    with store.write() as writer:
        writer.replace_rows(tally_hour, hours)
        writer.replace_rows(tally_day, days)
