"""Small helpers that every room uses, one idea per file."""
