"""Exact resume, safe saving, and training that survives faults."""
