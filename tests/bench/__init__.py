"""Benchmarks of probe engine, agent, ingest and queries: ``make bench-probe`` and others; see docs/benchmarks.md."""
