"""Scores of outputs against reference texts, with their statistics by item and paired intervals."""
