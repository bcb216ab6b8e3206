"""A Grafana to test against: what its HTTP API promises as data (contract.toml), and a server that keeps it."""
