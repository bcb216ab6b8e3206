"""The prober process: sockets, schedule, timestamps, windows."""
