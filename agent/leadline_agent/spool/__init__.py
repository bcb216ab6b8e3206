"""What keeps a sealed batch until the collector has it: append-only segments that heal themselves (docs/spool.md).

`spool.Spool` is the only door. Behind it: `contents` (what is held, and in which state), `segment` (bytes on
disk), `room` (what goes when there is none), `recovery` (what a start finds).
"""
