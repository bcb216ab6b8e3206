"""The mesh: sites, agents and who probes whom; its model and its file format."""
