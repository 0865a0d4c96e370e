"""What a model lost elsewhere: likelihoods, questions, drift, free continuations."""
