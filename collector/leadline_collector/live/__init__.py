"""Current state of pairs and agents, computed once a minute and stored for pages, Grafana and Prometheus.

``worker`` is the thread, ``pairs`` and ``agents`` refresh their tables, ``recent_states`` computes the states of pairs,
``store`` has the SQL.
"""
