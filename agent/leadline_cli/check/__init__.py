"""``leadline check``: measure hosts now and evaluate them against limits."""
