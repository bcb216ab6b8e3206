"""Mesh versions, sites, agents, targets and paths in the database."""
