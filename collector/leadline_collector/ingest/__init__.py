"""Accepts batches and imported files and writes them to the database."""
