"""The agent: measures RTTs, builds windows and uploads batches. It imports ``leadline`` and never the collector.

Two processes: the prober (``probe``) only measures; the main process (``agent``) talks to the collector.
"""
