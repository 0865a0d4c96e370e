"""The tables of cost in a study's report: seconds and tokens of every checkpoint, and the arms at an equal cost."""

from eval.report.blocks import Table
from eval.report.wording import ABSENT, direction, plain_number
from eval.run_folder import Json
from eval.study.cells import interval_note, label, with_interval
from eval.study.points import UNTOUCHED
from eval.study.sentences import COST_NAMES, METRIC, TAX

TOKEN_COLUMNS = {"tokens": "Tokens trained on", "sampled_tokens": "Sampled", "scored_tokens": "Scored"}


def cost_table(figures: Json) -> Table:
    """Prompts, tokens, updates and seconds of every trained checkpoint, from its start on."""
    keys = ("prompts", "tokens", "updates", "seconds")
    rows = tuple(
        (label(row), row["kind"], *(whole(row["cost"], key) for key in keys))
        for row in figures["checkpoints"]
        if row["kind"] != UNTOUCHED
    )
    header = ("Checkpoint", "Kind", "Prompts", "Tokens trained on", "Updates", "Seconds")
    return Table("Prompts, tokens and updates", header, rows)


def whole(cost: Json, key: str) -> str:
    """A cost as a whole number; '-' where an earlier version did not count it."""
    return plain_number(round(cost[key])) if key in cost else ABSENT


def path_cost_table(figures: Json) -> Table:
    """Gain against the seconds and the tokens of the whole way from the untouched model."""
    target = figures["target"]
    rows = tuple(
        (
            label(row).removesuffix(" *"),
            with_interval(METRIC[target], row["gains"][target]),
            with_interval(TAX, row["tax"]),
            *(front_cell(row, axis) for axis in COST_NAMES),
            *(whole(row["path_cost"], key) for key in TOKEN_COLUMNS),
        )
        for row in figures["checkpoints"]
        if row["path_cost"] is not None and row["gains"][target] is not None
    )
    note = (
        "The whole way from the untouched model: what the checkpoint began from is included. Seconds are those of the "
        "machine that trained; tokens are exact: trained on in every pass, sampled, and scored without a gradient. "
        "* on the front: no other checkpoint has as much of the target score for as little of this cost."
    )
    names = (name.capitalize() for name in COST_NAMES.values())
    header = ("Checkpoint", f"{METRIC[target].label}, gain", "Tax", *names, *TOKEN_COLUMNS.values())
    return Table("Gain against cost", header, rows, (note, interval_note(figures)))


def front_cell(row: Json, axis: str) -> str:
    """'1,234', with an asterisk on the front of this cost."""
    return whole(row["path_cost"], axis) + (" *" if axis in row["on_cost_front"] else "")


def equal_cost_table(figures: Json) -> Table:
    """GRPO's gain and tax beside those of the best rival at the largest cost both reach."""
    words = {-1: "GRPO gains less", 0: "no clear difference", 1: "GRPO gains more"}
    rows = tuple(
        (
            f"{plain_number(round(row['cost']))} {COST_NAMES[row['axis']]}",
            METRIC[row["metric"]].label,
            f"{row['kind']}: {', '.join(row['others'])}",
            *(
                with_interval(METRIC[row["metric"]], row[key])
                for key in ("main_gain", "other_gain", "gain_difference")
            ),
            words[direction(row["gain_difference"])],
            with_interval(TAX, row["tax_difference"]),
        )
        for row in figures["equal_cost"]
    )
    note = (
        "At the largest cost that both reach, the way from the untouched model included. Between checkpoints the front "
        "of gain against cost is linear. Best arm of each seed: the one with the highest gain there; it is chosen on the "
        "same items, which favours it."
    )
    header = (
        "Cost", "Target", "Rival: best arm (per seed)", "GRPO's gain", "Rival's gain", "GRPO minus rival", "Reading",
        "Tax, GRPO minus rival",
    )  # fmt: skip
    return Table("Gain at an equal cost", header, rows, (note, interval_note(figures)))
