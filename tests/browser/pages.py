"""The pages on which the common tests run."""

from __future__ import annotations

#: Path of each page, by name. The week of the pair contains every state.
PAGES = {
    "matrix": "/",
    "pair": "/pairs/frankfurt/zurich?from=-7d",
    "pair-empty": "/pairs/west/north",
    "map": "/map",
    "agents": "/agents",
    "agent": "/agents/south-a1",
    "limits": "/limits",
    "limit": "/limits/vmware-vsan-9.0-stretched-rtt",
    "profile": "/limits/vsan-stretched",
}
PROBLEM = "/pairs/frankfurt/atlantis"
