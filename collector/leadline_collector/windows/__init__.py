"""Window statistics: rows, merging and evaluation."""
