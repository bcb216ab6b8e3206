"""Keeps the rules that windows are counted by in step with the mesh: a new one counts everything there is first."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, func, select

from leadline_collector.db.tables import rollup_hour, tally_day, tally_hour
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import registry
from leadline_collector.mesh.registry import Directory
from leadline_collector.rollup import compaction, hour_reader, profile_revisions
from leadline_collector.rollup.compaction import SITE_LOCK
from leadline_collector.rollup.profile_revisions import Rule
from leadline_collector.windows.dirty_hours import DAY_S


def bring_up(store: Store) -> None:
    """Forget the rules that nobody wants any more, add those that are missing, and count by those that are new."""
    with store.read() as reader:
        wanted, known = profile_revisions.wanted(reader), profile_revisions.known(reader.connection)
        sites = registry.read(reader.connection)
    unwanted = [number for sha256, number in known.items() if sha256 not in wanted]
    if unwanted:
        _forget(store, unwanted, sites)
    missing = {sha256: profile for sha256, profile in wanted.items() if sha256 not in known}
    if missing:
        with store.write() as writer:
            profile_revisions.add(writer.connection, missing)
    with store.read() as reader:
        fresh = [rule for rule in profile_revisions.valid(reader.connection) if not rule.complete]
    counted = [_count_site(store, source_id, fresh) for source_id in sites.agents_of] if fresh else []
    if fresh and all(counted):
        with store.write() as writer:
            profile_revisions.set_complete(writer.connection, [rule.id for rule in fresh])


def _forget(store: Store, ids: Collection[int], sites: Directory) -> None:
    """First it is no longer believed, then its tallies go, site by site, so that no transaction is long."""
    with store.write() as writer:
        profile_revisions.set_complete(writer.connection, ids, complete=False)
    for source_id in sites.agents_of:
        for table in (tally_hour, tally_day):
            with store.write() as writer:
                column = table.c
                writer.connection.execute(delete(table).where(column.source_id == source_id, column.rule_id.in_(ids)))
    with store.write() as writer:
        profile_revisions.remove(writer.connection, ids)


def _count_site(store: Store, source_id: int, fresh: Collection[Rule]) -> bool:
    """Count every hour and day of a site by the new rules; False if somebody else has the site."""
    with store.turn(SITE_LOCK, source_id) as is_ours:
        if not is_ours:
            return False
        with store.read() as reader:
            src_ids = registry.read(reader.connection).agents_of[source_id]
            column = rollup_hour.c
            condition = hour_reader.of_paths(column, src_ids, None, 0, 1 << 62)
            first_s, last_s = reader.connection.execute(
                select(func.min(column.t), func.max(column.t)).where(condition)
            ).one()
        if first_s is not None:
            for day_s in range(first_s - first_s % DAY_S, last_s + 1, DAY_S):
                _count_day(store, source_id, day_s, fresh)
        return True


def _count_day(store: Store, source_id: int, day_s: int, fresh: Collection[Rule]) -> None:
    """What is marked counts as it is: it will be compacted, and counted, anew."""
    with store.read() as reader:
        known = registry.read(reader.connection)
        windows = hour_reader.hours(reader.connection, known.agents_of[source_id], day_s, day_s + DAY_S)
        hours = [row for rule in fresh for row in compaction.tally_rows(windows, rule, known)]
        days = [row for rule in fresh for row in compaction.day_tally_rows(windows, rule, known, day_s)]
    store.make_partitions([day_s])
    with store.write() as writer:
        writer.replace(tally_hour, hours)
        writer.replace(tally_day, days)
