"""Creates datasource, folder, dashboards and alert rules in a Grafana server (``leadline grafana push``).

Rule 1: each item is read first and written only if it differs. A second run writes nothing.
Rule 2: only ``client`` uses the HTTP client. The other modules work on documents.
"""
