"""The pages there are: what every one of them has to keep is tried on each of these."""

from __future__ import annotations

#: Name of a picture -> address. The week of the pair has windows of every state.
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
