"""Headless Chromium: a page shown at several widths at once, and what a script measures in each."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--hide-scrollbars", "--disable-sync", "--allow-file-access-from-files", "--virtual-time-budget=5000",
)  # fmt: skip
MEASURES = Path(__file__).with_name("measures.js").read_text(encoding="utf-8")
SIZES = {"desktop": (1366, 768), "phone": (390, 844)}
DARK = "--blink-settings=preferredColorScheme=0"
FRAME = '<iframe src="{page}" style="width:{width}px;height:{height}px;border:0"></iframe>'
HARNESS = """<!DOCTYPE html><meta name="color-scheme" content="light dark">{frames}<pre id="found"></pre><script>
{measures}
const measure = {script};
addEventListener("load", async () => {{
  const frames = Array.from(document.querySelectorAll("iframe"));
  const found = await Promise.all(frames.map(frame => measure(frame.contentWindow)));
  document.getElementById("found").textContent = JSON.stringify(found);
}});
</script>"""


def measure(page: Path, script: str, folder: Path, is_dark: bool = False) -> list[Any]:
    """What `script`, a JavaScript function of a window, returns for the page at each of SIZES.

    Skips where there is no Chromium.
    """
    harness = folder / "harness.html"
    harness.write_text(harness_of(page.as_uri(), script), encoding="utf-8")
    return found_at(harness.as_uri(), folder, is_dark)


def harness_of(page: str, script: str) -> str:
    """A page that shows `page` at each size and measures it; both have to come from one place. `script` may be async."""
    frames = "".join(FRAME.format(page=page, width=width, height=height) for width, height in SIZES.values())
    return HARNESS.format(frames=frames, measures=MEASURES, script=script)


def found_at(harness: str, folder: Path, is_dark: bool) -> list[Any]:
    """What the harness at an address found. Skips where there is no Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here; install Debian's package chromium")
    profile = f"--user-data-dir={folder / 'profile'}"
    more = [DARK] if is_dark else []
    command = [program, *FLAGS, *more, profile, "--dump-dom", harness]
    output = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    (text,) = re.findall(r'<pre id="found">(.*?)</pre>', output, re.DOTALL)
    return list(json.loads(html.unescape(text)))
