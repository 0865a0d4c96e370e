"""The style and the script of a report's page, which lie beside this file as page.css and page.js."""

import base64
import hashlib
from importlib.resources import files

FOLDER = files("eval.report")
CSS = FOLDER.joinpath("page.css").read_text(encoding="utf-8")
SCRIPT = FOLDER.joinpath("page.js").read_text(encoding="utf-8")


def source_hash(script: str) -> str:
    """The name of a script for a Content-Security-Policy, by which a browser runs it and no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


POLICY = f"default-src 'none'; style-src 'unsafe-inline'; script-src {source_hash(SCRIPT)}"
