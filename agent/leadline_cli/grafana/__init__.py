"""Putting datasource, folder, dashboards and alert rules into a Grafana that exists (``leadline grafana push``).

Rule 1: what is there is read first and written only where it differs, so that a second run writes nothing.
Rule 2: only ``transport`` knows the HTTP client; the other modules are functions of documents.
"""
