"""Makes the dashboards and alert rules: ``python -m leadline_dashboards.generate`` writes them. Development only."""
