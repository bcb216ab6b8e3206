"""The collector: receives batches from agents, stores them durably, evaluates pairs of sites, serves API and pages.

It imports ``leadline`` and never the agent. docs/decisions/0005-storage.md describes the storage and the reasons.
"""
