"""Forgetting of general competence: likelihoods, questions, drift, free continuations."""
