"""The ``leadline`` command: one entry point, thin. A module per command; what is heavy is imported when it runs."""
