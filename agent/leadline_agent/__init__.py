"""The agent: measures, builds windows, sends batches. It imports ``leadline`` and never the collector.

Two processes: one probes and does nothing else (``probe_process``), one talks to the collector (``loop``).
"""
