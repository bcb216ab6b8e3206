"""Durable queue of batches until the collector has them: append-only, self-repairing segment files (docs/spool.md).

`spool.Spool` is the only entry point. It uses `spool_state` (batches and their states), `record_format` (bytes on
disk), `eviction` (frees space) and `recovery` (reads the directory at start).
"""
