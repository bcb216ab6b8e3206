"""Commands of ``leadline``, one module each."""
