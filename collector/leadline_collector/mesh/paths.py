"""Which paths a pair has: every agent that was ever at its source with every target that was ever at its destination.

Not only those of the mesh in force: what a replaced agent measured last week still belongs to the pair. A name never
changes its site (``meshes``), so the answer does not depend on the version.
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
    """The possible paths of every pair; those that were never probed have no windows."""
    targets = mesh_store.load_targets(reader.connection)
    paths: defaultdict[Pair, list[PathIds]] = defaultdict(list)
    for agent in mesh_store.load_agents(reader.connection):
        imported = is_imported(agent.name)
        for target in targets:
            if agent.site != target.site:
                pair = Pair(source=agent.site, destination=target.site)
                paths[pair].append(PathIds(src_id=agent.id, dst_id=target.id, imported=imported))
    return dict(paths)
