"""Propagation delay between sites of a mesh, computed once for each pair of coordinates."""

from __future__ import annotations

from functools import lru_cache

from leadline.model import Site
from leadline.propagation import Plausibility, PropagationDelay, check_plausibility, compute_propagation_delay

#: Directed pairs of a full mesh of 500 sites. An entry takes some 400 bytes.
PAIRS_MAX = 250_000


@lru_cache(PAIRS_MAX)
def get_propagation_delay(source: Site, destination: Site) -> PropagationDelay:
    """Return the propagation delay between two sites of a mesh.

    A geodesic takes some 40 µs, and pages and workers need the same pairs every minute. The key is the two sites with
    their coordinates and not the mesh version, because version numbers repeat after the restore of a backup.
    """
    return compute_propagation_delay(source, destination)


def is_invalid_rtt(source: Site, destination: Site, min_us: int | None) -> bool:
    """Return True if a measured minimum RTT is below the propagation delay in a vacuum; False without a reply.

    The uncertainties of the coordinates are in the favour of the measurement (``leadline.propagation``).
    """
    if min_us is None:
        return False
    delay = get_propagation_delay(source, destination)
    return check_plausibility(delay, min_us).plausibility is Plausibility.INVALID
