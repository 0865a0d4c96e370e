"""Readers of parallel text, one for each kind of origin."""
