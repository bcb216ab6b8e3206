"""From where on an agent is said to be in trouble: one set of numbers for the pages, Grafana's alerts and Prometheus'.

Whoever is paged finds the same word on the page. ``deploy/prometheus-alerts.yml`` is a file to copy and cannot import
them; a test compares.
"""

from __future__ import annotations

#: An agent sends every minute: five have not come.
AGENT_SILENCE_S_MAX = 300
#: Half of the spool: an agent fills the rest in as long as it took for the first.
SPOOL_USAGE_RATIO_MAX = 0.5
#: Half of a probe's slot at one a second: from there on a probe is nearer to another slot than to its own.
#: Counted is what is certain, the offset less its error. It moves minutes, never a round trip.
CLOCK_OFFSET_US_MAX = 500_000
