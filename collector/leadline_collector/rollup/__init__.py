"""What is kept for months: raw round trips, rollups and tallies, made of windows and journal (docs/decisions/0008).

`marks` says what is behind, `compactor` and `compaction` make it, `retention` lets it go. Read through `blocks`
(windows of any time) and `period_counts` (pairs over a period): exact at every moment.
"""
