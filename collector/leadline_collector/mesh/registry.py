"""Which agent and which target is at which site, in the numbers of the database; a name never changes its site."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from leadline.wire.batch import is_imported
from leadline_collector.db import tables


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Everything that was an agent, a target or a site in any version of the mesh."""

    site_ids: Mapping[str, int]
    #: Site of every agent and of every target.
    site_by_agent: Mapping[int, int]
    site_by_target: Mapping[int, int]
    #: Number of every target by name.
    target_ids: Mapping[str, int]
    #: How many targets there are, and at each site.
    target_count: int
    target_count_by_site: Mapping[int, int]
    #: Agents of every site that has some.
    agents_by_site: Mapping[int, Sequence[int]]
    #: Agents that are files somebody brought in.
    imported_agents: frozenset[int]


def load_registry(connection: Connection) -> Registry:
    """As of the transaction."""
    agent, target = tables.agent.c, tables.target.c
    sites = connection.execute(select(tables.site.c.name, tables.site.c.id)).all()
    agents = connection.execute(select(agent.id, agent.site_id, agent.name).order_by(agent.id)).all()
    targets = connection.execute(select(target.id, target.site_id, target.name)).all()
    agents_of: defaultdict[int, list[int]] = defaultdict(list)
    for row in agents:
        agents_of[row[1]].append(row[0])
    return Registry(
        site_ids={row[0]: row[1] for row in sites},
        site_by_agent={row[0]: row[1] for row in agents},
        site_by_target={row[0]: row[1] for row in targets},
        target_ids={row[2]: row[0] for row in targets},
        target_count=len(targets),
        target_count_by_site=Counter(row[1] for row in targets),
        agents_by_site=dict(agents_of),
        imported_agents=frozenset(row[0] for row in agents if is_imported(row[2])),
    )
