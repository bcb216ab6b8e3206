"""Paths of a pair: every agent ever at its source with every target ever at its destination.

The paths of replaced agents are included, because their measurements still belong to the pair. A name never changes its
site (``mesh.service``), so the result does not depend on the mesh version.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TypeAlias

from leadline.model import Pair
from leadline.wire.batch import is_imported
from leadline_collector.db.transactions import ReadTransaction
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import PathIds

#: Names of the source and the destination site.
PairNames: TypeAlias = tuple[str, str]


def load_paths_by_pair(reader: ReadTransaction) -> dict[Pair, list[PathIds]]:
    """Return the possible paths of every pair; a path that was never probed has no windows."""
    targets = mesh_store.load_targets(reader.connection)
    paths: defaultdict[Pair, list[PathIds]] = defaultdict(list)
    for agent in mesh_store.load_agents(reader.connection):
        imported = is_imported(agent.name)
        for target in targets:
            if agent.site != target.site:
                pair = Pair(source=agent.site, destination=target.site)
                paths[pair].append(PathIds(src_id=agent.id, dst_id=target.id, imported=imported))
    return dict(paths)
