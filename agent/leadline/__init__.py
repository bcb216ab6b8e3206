"""Core shared by agent and collector: domain model, wire format, statistics and evaluation.

Rule 1: the core uses no socket, file, database or clock; its functions depend on their arguments only. (``clock``
defines the clock interface; ``limits.catalogue`` reads the data file packaged with it.)
Rule 2: it imports the standard library, msgspec and geographiclib, and neither the agent nor the collector.
Rule 3: a type belongs here if agent and collector both need it; otherwise it belongs to the side that needs it.
"""

__version__ = "0.2.0"
