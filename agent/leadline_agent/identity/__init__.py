"""State directory, credentials, key rotation and signatures of an agent."""
