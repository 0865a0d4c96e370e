"""The page for a browser; its body, style and script lie beside this file. It loads nothing from elsewhere."""

from html import escape
from importlib.resources import files
from string import Template

from data.language_names import short_name
from eval.report.cards import attributes
from eval.report.page_files import CSS, source_hash
from grpo.serve.served import ServedPolicy

FOLDER = files("grpo.serve")
HTML = Template(FOLDER.joinpath("page.html").read_text(encoding="utf-8"))
MORE_CSS = FOLDER.joinpath("page.css").read_text(encoding="utf-8")
SCRIPT = FOLDER.joinpath("page.js").read_text(encoding="utf-8")
SECURITY = (  # the header Content-Security-Policy
    f"default-src 'none'; style-src 'unsafe-inline'; script-src {source_hash(SCRIPT)}; connect-src 'self'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
NO_COSINE = "There is no cosine: "


def page(served: ServedPolicy, most_samples: int, no_encoder: str) -> str:
    """The page of a policy. `no_encoder` says why there is no cosine, "" where there is one."""
    source, target, _ = served.policy.kind
    pair = f"{short_name(source)} to {short_name(target)}" if source else ""
    return HTML.substitute(
        css=CSS + MORE_CSS,
        script=SCRIPT,
        name=escape(served.name),
        pair=escape(pair),
        source=attributes(source),
        target=attributes(target),
        samples=min(3, most_samples),
        most_samples=most_samples,
        encoder=escape(f"{NO_COSINE}{no_encoder}." if no_encoder else ""),
        reference_hidden="hidden" if no_encoder else "",
    )
