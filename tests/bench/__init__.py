"""How exact and how cheap the probe engine is, beside other tools: ``make bench-probe``; docs/benchmarks.md."""
