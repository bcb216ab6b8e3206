"""Matrix, verdicts and profiles over stored windows."""
