"""Generator of the dashboards and alert rules: ``python -m leadline_dashboards.generate``. Development only."""
