"""Synchronises profile revisions with the active mesh, and counts all hours by a new revision."""

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
    """Delete unused profile revisions, add missing ones, and count all hours by incomplete ones."""
    with store.read() as reader:
        active = profile_revisions.load_active_profiles(reader)
        stored = profile_revisions.load_revision_ids(reader.connection)
        sites = registry.load_registry(reader.connection)
    unused = [revision_id for sha256, revision_id in stored.items() if sha256 not in active]
    if unused:
        _delete_revisions(store, unused, sites)
    missing = {sha256: profile for sha256, profile in active.items() if sha256 not in stored}
    if missing:
        with store.write() as writer:
            profile_revisions.add_revisions(writer.connection, missing)
    with store.read() as reader:
        revisions = profile_revisions.load_current_revisions(reader.connection)
    incomplete = [revision for revision in revisions if not revision.is_complete]
    if not incomplete:
        return
    site_results = [_recount_site(store, source_id, incomplete) for source_id in sites.agents_by_site]
    if all(site_results):
        with store.write() as writer:
            profile_revisions.set_complete(writer.connection, [revision.id for revision in incomplete])


def _delete_revisions(store: Store, ids: Collection[int], registry: Registry) -> None:
    """Mark the revisions incomplete, then delete their counts site by site in short transactions, then the rows."""
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
    """Count every hour and day of a site by these revisions; return False if another process works on the site."""
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
    """Count a day with its hours. Dirty hours are counted with their present windows and again when compacted."""
    with store.read() as reader:
        sites = registry.load_registry(reader.connection)
        windows = hour_reader.load_hours(reader.connection, sites.agents_by_site[source_id], day_s, day_s + DAY_S)
        hour_rows = [row for revision in revisions for row in compaction.build_count_rows(windows, revision, sites)]
        day_rows = [
            row for revision in revisions for row in compaction.build_day_count_rows(windows, revision, sites, day_s)
        ]
    store.ensure_partitions([day_s])
    with store.write() as writer:
        writer.replace_rows(tally_hour, hour_rows)
        writer.replace_rows(tally_day, day_rows)
