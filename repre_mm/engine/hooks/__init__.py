"""Hooks of a training; the only modules that need the Runner while it trains."""
