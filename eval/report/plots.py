"""Draws training curves as SVG, one small picture for each metric.

Points are also written as text, from which page.js shows the value under the pointer or the arrow keys.
"""

from collections.abc import Sequence
from html import escape

from eval.report.axes import Scale, frame, left_margin, limits, ticks
from eval.report.blocks import Figure
from eval.report.tables import finite_series
from eval.report.wording import plain_number
from eval.run_folder import Json, RunFolder

WIDTH, HEIGHT = 320, 170
RIGHT, TOP, BOTTOM = 8, 8, 36
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


def moving_average(values: Sequence[float], reach: int) -> list[float]:
    """Mean over `reach` neighbours on each side, fewer at the ends: [1, 3, 5] by 1 -> [2, 3, 4]."""
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def curve(steps: Sequence[int], values: Sequence[float], title: str) -> Figure:
    """One metric against the step: each value faint, the moving average over a tenth of the steps strong."""
    y_low, y_high = limits(values)
    up = ticks(y_low, y_high, 3)
    x_low, x_high = (steps[0], steps[-1]) if len(steps) > 1 else (steps[0] - 1, steps[0] + 1)
    x = Scale(x_low, x_high, round(left_margin(up)), WIDTH - RIGHT)
    y = Scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    across = [tick for tick in ticks(x_low, x_high) if tick == int(tick)]
    smooth = moving_average(values, len(values) // 20)
    texts = [plain_number(float(value)) for value in values]
    label = f"{title}: {texts[0]} at step {steps[0]}, {texts[-1]} at step {steps[-1]}"
    drawing = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}" '
        f'data-steps="{" ".join(map(str, steps))}" data-values="{" ".join(texts)}">{frame(x, y, across, up, "step")}<g class="c0">'
        f'<polyline class="raw" points="{places(x, y, steps, values)}"/>'
        f'<polyline class="way" points="{places(x, y, steps, smooth)}"/></g></svg>'
    )
    return Figure(title, drawing)


def places(x: Scale, y: Scale, steps: Sequence[int], values: Sequence[float]) -> str:
    """The points of a polyline; a single one becomes a short stroke."""
    points = [f"{x(step)},{y(value)}" for step, value in zip(steps, values, strict=True)]
    return " ".join(points if len(points) > 1 else [*points, f"{x(steps[0]) + 3},{y(values[0])}"])


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
