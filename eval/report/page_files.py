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


def page_head(title: str, policy: str, css: str) -> str:
    """The lines of an HTML page before its body; `title` is escaped already."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{css}</style>
</head>"""


POLICY = f"default-src 'none'; style-src 'unsafe-inline'; script-src {source_hash(SCRIPT)}"
