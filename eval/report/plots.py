"""Draws training curves as inline SVG, one small picture per metric, with matplotlib and without a display.

Text and axes use `currentColor` on a transparent ground, so a picture follows the page into dark mode. No
user text is drawn.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Canvas

from eval.report.blocks import Figure
from eval.report.tables import finite_series
from eval.run_folder import Json, RunFolder

INK = "#010203"  # a colour nothing else uses, replaced by currentColor
LINE = "#2f86d2"
SFT_CURVES = (("loss", "Warm start: loss"),)
TRAIN_CURVES = (
    ("reward_mean", "Reward"),
    ("cosine_mean", "Cosine of sampled completions"),
    ("cosine_held_out_mean", "Cosine by the held-out encoder (not rewarded)"),
    ("chrf_mean", "chrF of sampled completions (not rewarded)"),
    ("agreement_cosine_held_out", "Agreement of reward and held-out cosine in a group"),
    ("script_mean", "Script consistency term"),
    ("length_ratio_mean", "Units of a completion / of its reference text"),
    ("unrepeated_mean", "Share without repetition"),
    ("kl_mean", "KL to the reference policy"),
    ("length_mean", "Completion length (tokens)"),
    ("cut_share", "Share of completions cut by the limit"),
    ("zero_std_share", "Share of groups without variance"),
)
TAX_CURVES = (
    ("tax", "Measured tax on general text (nats per token)"),
    ("tax_kept", "Tax of the state that training continued from (nats per token)"),
)
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def moving_average(values: Sequence[float], reach: int) -> list[float]:
    """Mean over `reach` neighbours on each side, fewer at the ends: [1, 3, 5] by 1 -> [2, 3, 4]."""
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def curve(steps: Sequence[int], values: Sequence[float], title: str) -> Figure:
    """One metric against the step: each value faint, the moving average over a tenth of the steps strong."""
    style: Any = {**STYLE, "svg.hashsalt": title}
    with matplotlib.rc_context(style):
        canvas = Canvas(figsize=(4.2, 2.3), layout="constrained")
        axes = canvas.subplots()
        marker = "o" if len(values) == 1 else ""
        axes.plot(steps, values, color=LINE, alpha=0.35, linewidth=1, marker=marker)
        axes.plot(steps, moving_average(values, len(values) // 20), color=LINE, linewidth=1.8)
        axes.set_xlabel("step")
        axes.margins(x=0.01)
        axes.grid(alpha=0.15, color=INK)
        axes.ticklabel_format(useOffset=False)
        return Figure(title, svg_text(canvas))


def svg_text(canvas: Canvas) -> str:
    """The picture as an <svg> element that scales with the page, without ids that two pictures may share."""
    file = io.StringIO()
    canvas.savefig(
        file,
        format="svg",
        transparent=True,
        metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
    )
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"',
        r"\1",
        re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1),
        count=1,
    ).strip()


def curves(run: RunFolder) -> list[Figure]:
    """A picture for every logged metric of the two training stages and of the tax measurements."""
    return [
        *stage_curves(run.sft, SFT_CURVES),
        *stage_curves(run.train, TRAIN_CURVES),
        *stage_curves(run.tax, TAX_CURVES),
    ]


def stage_curves(rows: Sequence[Json], titles: Sequence[tuple[str, str]]) -> list[Figure]:
    """The pictures of one stage."""
    series = [(title, finite_series(rows, key)) for key, title in titles]
    return [curve(steps, values, title) for title, (steps, values) in series if values]
