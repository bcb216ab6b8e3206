"""The ``leadline`` command. One module for each command; each imports heavy packages only when it runs."""
