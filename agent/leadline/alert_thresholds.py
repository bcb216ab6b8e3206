"""Alert thresholds for agents, shared by the pages, the Grafana alerts and the Prometheus alerts.

``deploy/prometheus-alerts.yml`` repeats the numbers because it cannot import them; a test compares the two.
"""

from __future__ import annotations

#: An agent sends a batch every minute, so five are overdue.
AGENT_SILENCE_S_MAX = 300
#: At half, the time that filled the first half remains until the spool overflows.
SPOOL_USAGE_RATIO_MAX = 0.5
#: Half a slot at one probe a second: beyond it a probe is closer to a neighbouring slot than to its own.
#: Compared with the offset minus its error. A clock offset shifts window times, not RTTs.
CLOCK_OFFSET_US_MAX = 500_000
