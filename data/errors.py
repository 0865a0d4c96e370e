"""The one exception for what a user can put right: a file, a line of it, a setting."""


class InputError(ValueError):
    """Says in one sentence what is wrong, where (file, line or key) and what to write instead; ends a command with exit code 2."""
