"""Translates a file with a policy: lines in, as many lines out."""
