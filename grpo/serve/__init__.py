"""Serves one policy on this machine, by OpenAI's HTTP interface and by a page for a browser: for trying it out."""
