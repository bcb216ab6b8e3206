"""`leadline agent doctor`: diagnoses an agent host."""
