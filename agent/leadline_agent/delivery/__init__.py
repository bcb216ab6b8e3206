"""Builds batches from windows and uploads them to the collector."""
