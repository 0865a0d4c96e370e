"""Which of two systems is preferred: a judge in both orders, or a blind sheet for readers."""
