"""What is true now, computed once a minute and stored for whoever asks: pages, Grafana, Prometheus.

``pairs`` and ``agents`` bring their table up to date; ``states`` is what they compute, ``stored`` their SQL, ``minute``
the thread that does it.
"""
