"""Long-term data: raw RTTs, rollups and state counts, made of windows and journal (docs/decisions/0008).

``worker`` and ``compaction`` create them for dirty hours, ``retention`` and ``deletion`` remove expired data. Read them
through ``hour_reader`` (windows of any time) and ``period_counts`` (pairs over a period); both are exact at any time.
"""
