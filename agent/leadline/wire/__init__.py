"""Messages between agent, collector and command line, and their encodings."""
