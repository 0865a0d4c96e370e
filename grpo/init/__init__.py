"""Writes the first configuration of a user: what their files say, with a reason for every setting."""
