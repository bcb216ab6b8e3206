"""Decision rule ``leadline-2026-1``, for files exported before the second edition. It does not change any more."""
