"""Precision and the switches that make a training step cheaper."""
