"""`leadline check`: measures a host now and evaluates it against limits."""
