"""One module for each command of `leadline`."""
