"""The core both sides share: the nouns, the wire, the arithmetic and the judgement.

Rule 1: nothing here touches a socket, a file, a database or a clock; functions of values only. (``clock`` names the
port through which time comes in; ``limits`` reads the data file that is packaged with it.)
Rule 2: it imports the standard library, msgspec and geographiclib, and neither the agent nor the collector.
Rule 3: a type is admitted when agent and collector both need it; what only one side needs lives there.
"""

__version__ = "0.1.0"
