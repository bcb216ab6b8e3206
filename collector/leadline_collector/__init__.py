"""The collector: takes batches from agents, stores them durably, judges pairs of sites, answers and shows.

It imports ``leadline`` and never the agent. docs/decisions/0005-storage.md says how it stores and why.
"""
