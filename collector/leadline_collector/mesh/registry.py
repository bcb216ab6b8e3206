"""Ids and sites of all agents and targets; a name never changes its site."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from leadline.wire.batch import is_imported
from leadline_collector.db import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """All agents, targets and sites of any version of the mesh."""

    site_ids: Mapping[str, int]
    site_by_agent: Mapping[int, int]
    site_by_target: Mapping[int, int]
    target_ids: Mapping[str, int]
    target_count: int
    target_count_by_site: Mapping[int, int]
    #: Only sites with at least one agent.
    agents_by_site: Mapping[int, Sequence[int]]
    #: Pseudo-agents of imported files.
    imported_agents: frozenset[int]


def load_registry(connection: Connection) -> Registry:
    """Read the registry of this transaction."""
    agent, target = tables.agent.c, tables.target.c
    sites = connection.execute(select(tables.site.c.name, tables.site.c.id)).all()
    agents = connection.execute(select(agent.id, agent.site_id, agent.name).order_by(agent.id)).all()
    targets = connection.execute(select(target.id, target.site_id, target.name)).all()
    agents_by_site: defaultdict[int, list[int]] = defaultdict(list)
    for row in agents:
        agents_by_site[row[1]].append(row[0])
    return Registry(
        site_ids={row[0]: row[1] for row in sites},
        site_by_agent={row[0]: row[1] for row in agents},
        site_by_target={row[0]: row[1] for row in targets},
        target_ids={row[2]: row[0] for row in targets},
        target_count=len(targets),
        target_count_by_site=Counter(row[1] for row in targets),
        agents_by_site=dict(agents_by_site),
        imported_agents=frozenset(row[0] for row in agents if is_imported(row[2])),
    )
