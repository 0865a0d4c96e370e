"""The tables of cost in a study's report: seconds and tokens of every checkpoint, and the arms at an equal cost."""

from eval.report.blocks import Table, table_of
from eval.report.wording import ABSENT, METRIC, TAX, direction, plain_number
from eval.run_folder import Json
from eval.study.cells import interval_note, label, name_of, with_interval
from eval.study.points import UNTOUCHED
from eval.study.sentences import COST_NAMES

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
    rows = (
        {
            "Checkpoint": name_of(row),
            f"{METRIC[target].label}, gain": with_interval(METRIC[target], row["gains"][target]),
            "Tax": with_interval(TAX, row["tax"]),
            **{name.capitalize(): front_cell(row, axis) for axis, name in COST_NAMES.items()},
            **{name: whole(row["path_cost"], key) for key, name in TOKEN_COLUMNS.items()},
        }
        for row in figures["checkpoints"]
        if row["path_cost"] is not None and row["gains"][target] is not None
    )
    note = (
        "The whole way from the untouched model: what the checkpoint began from is included. Seconds are those of the "
        "machine that trained; tokens are exact: trained on in every pass, sampled, and scored without a gradient. "
        "* on the front: no other checkpoint has as much of the target score for as little of this cost."
    )
    return table_of("Gain against cost", rows, (note, interval_note(figures)))


def front_cell(row: Json, axis: str) -> str:
    """'1,234', with an asterisk on the front of this cost."""
    return whole(row["path_cost"], axis) + (" *" if axis in row["on_cost_front"] else "")


def equal_cost_table(figures: Json) -> Table:
    """GRPO's gain and tax beside those of the best rival at the largest cost both reach."""
    words = {-1: "GRPO gains less", 0: "no clear difference", 1: "GRPO gains more"}
    gains = {"main_gain": "GRPO's gain", "other_gain": "Rival's gain", "gain_difference": "GRPO minus rival"}
    rows = (
        {
            "Cost": f"{plain_number(round(row['cost']))} {COST_NAMES[row['axis']]}",
            "Target": METRIC[row["metric"]].label,
            "Rival: best arm (per seed)": f"{row['kind']}: {', '.join(row['others'])}",
            **{name: with_interval(METRIC[row["metric"]], row[key]) for key, name in gains.items()},
            "Reading": words[direction(row["gain_difference"])],
            "Tax, GRPO minus rival": with_interval(TAX, row["tax_difference"]),
        }
        for row in figures["equal_cost"]
    )
    note = (
        "At the largest cost that both reach, the way from the untouched model included. Between checkpoints the front "
        "of gain against cost is linear. Best arm of each seed: the one with the highest gain there; it is chosen on the "
        "same items, which favours it."
    )
    return table_of("Gain at an equal cost", rows, (note, interval_note(figures)))
