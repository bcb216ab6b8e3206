"""A fake Grafana: the contract of its HTTP API as data (contract.toml), and a server that implements it."""
