"""The tables of a study's report, each a function of its figures (`eval.study.figures`).

A table without rows is left out.
"""

from eval.report.blocks import Table, table_of
from eval.report.brackets import bracket_notes
from eval.report.learned import learned_metrics, learned_notes
from eval.report.wording import ABSENT, METRIC, METRICS, SHARE, TAX, direction, plain_number
from eval.run_folder import Json
from eval.study.cells import (
    interval_note,
    label,
    metrics_of,
    of_corpus,
    rows_with_gain,
    score_rows,
    with_interval,
)
from eval.study.claim_report import claim_table
from eval.study.cost_tables import cost_table, equal_cost_table, path_cost_table
from eval.study.main_table import PRICES, main_table
from eval.study.ranks import rank_tables
from eval.study.sentences import AREA, last_step, plus_minus
from eval.study.sequence_tables import sequence_tables
from eval.study.tax_tables import drift_table, sanity_table, tax_table, transition_table
from eval.study.transfer_tables import transfer_pairs_table, transfer_table

GAIN_KEYS = ("cosine", "cosine_held_out", "chrf", "bleu", "rouge_l", "consistent_share")
MACRO_INTERVALS = "Its intervals draw items inside each corpus and take the corpora as given."
BY_TEXTS = "Each seed alone: 95 % percentile interval of a bootstrap over texts."


def all_tables(figures: Json) -> dict[str, list[Table]]:
    """Section title -> its tables, with rows."""
    sections = {
        "The main table": [main_table(figures, price) for price in PRICES],
        "Target scores": [
            table(figures, corpus)
            for corpus in ("", *figures["corpora"])
            for table in (score_table, gain_table, learned_score_table, learned_gain_table)
        ]
        + rank_tables(figures),
        "Alignment tax": [
            tax_table(figures),
            transition_table(figures),
            drift_table(figures),
            sanity_table(figures),
        ],
        "At an equal target score": [equal_table(figures), area_table(figures)],
        "The claim": [claim_table(figures)],
        "At an equal cost": [equal_cost_table(figures)],
        "Other starts": [
            role_table(figures, "start", "GRPO from another model than the warm start, at its last step")
        ],
        "Ablations": [
            role_table(figures, "ablation", "Variants of the reward and the loss at their last step")
        ],
        "Controls": [role_table(figures, "control", "Arms whose reward means nothing, at their last step")],
        "Tax budget": [budget_table(figures)],
        "Few-shot transfer": [transfer_table(figures), transfer_pairs_table(figures)],
        "Sequence": sequence_tables(figures),
        "Preference": [judge_table(figures)],
        "Cost": [cost_table(figures), path_cost_table(figures)],
    }
    return {
        title: [table for table in tables if table.rows]
        for title, tables in sections.items()
        if any(table.rows for table in tables)
    }


def score_table(figures: Json, corpus: str = "") -> Table:
    """Every score of every checkpoint."""
    test_set = figures["corpora"][corpus] if corpus else figures
    notes = tuple(f"{key}: {value}" for key, value in test_set["signatures"].items())
    if figures["corpora"] and not corpus:
        names = ", ".join(figures["corpora"])
        notes = (f"Macro average over {names}, each of which counts as much. {MACRO_INTERVALS}",)
    target = METRIC[figures["target"]].label
    star = f"* on the front: no other has at least its {target} for at most its tax (means over seeds)."
    header = ("Checkpoint", "Seeds", *(metric.label for metric in metrics_of(figures)))
    title = f"Scores on {test_set['n']} test items{of_corpus(corpus)}"
    rows = score_rows(figures, corpus, METRICS)
    return Table(title, header, rows, (*bracket_notes(figures.get("rewarded", ())), star, *notes))


def gain_table(figures: Json, corpus: str = "") -> Table:
    """Every checkpoint against the warm start of its seed."""
    metrics = metrics_of(figures, GAIN_KEYS)
    words = {1: "higher", 0: "no clear difference", -1: "lower"}
    target = figures["target"]
    rows = tuple(
        (
            label(row),
            *(with_interval(metric, own["gains"][metric.key]) for metric in metrics),
            words[direction(own["gains"][target])],
        )
        for row, own in rows_with_gain(figures, corpus, target)
    )
    header = ("Checkpoint", *(metric.label for metric in metrics), METRIC[target].label)
    return Table(f"Gain over the warm start{of_corpus(corpus)}", header, rows, (interval_note(figures),))


def learned_score_table(figures: Json, corpus: str = "") -> Table:
    """Every learned metric of every checkpoint, on one of several corpora."""
    facts = figures.get("learned", {})
    metrics = learned_metrics(facts)
    rows = score_rows(figures, corpus, metrics) if facts else ()
    header = ("Checkpoint", "Seeds", *(metric.label for metric in metrics))
    return Table(f"Learned metrics{of_corpus(corpus)}", header, rows, learned_notes(facts))


def learned_gain_table(figures: Json, corpus: str = "") -> Table:
    """Every checkpoint against the warm start of its seed, by each learned metric."""
    metrics = learned_metrics(figures.get("learned", {}))
    rows = tuple(
        (label(row), *(with_interval(metric, own["gains"][metric.key]) for metric in metrics))
        for row, own in (rows_with_gain(figures, corpus, metrics[0].key) if metrics else ())
    )
    header = ("Checkpoint", *(metric.label for metric in metrics))
    title = f"Learned metrics, gain over the warm start{of_corpus(corpus)}"
    return Table(title, header, rows, (interval_note(figures),))


def equal_table(figures: Json) -> Table:
    """GRPO's tax beside that of the best rival at the largest score both reach."""
    words = {-1: "GRPO pays less", 0: "no clear difference", 1: "GRPO pays more"}
    rows = (
        {
            "Target": METRIC[row["metric"]].label,
            "Rival": row["kind"],
            "Best arm (per seed)": ", ".join(row["others"]),
            "Gain": METRIC[row["metric"]].change(row["gain"]["value"]),
            "GRPO's tax": plus_minus(row["main_tax"]),
            "Rival's tax": plus_minus(row["other_tax"]),
            "GRPO minus rival": with_interval(TAX, row["main_minus_other"]),
            "Reading": words[direction(row["main_minus_other"])],
        }
        for row in figures["equal_target"]
        if row["seeds"]
    )
    note = (
        "At the largest gain that both reach. Each arm's front begins where its training began and is linear between "
        "checkpoints; nothing is extrapolated. Best arm of each seed: the one with the lowest tax there; it is "
        "chosen on the same items, which favours it. \u00b1: half the 95 % interval."
    )
    return table_of("Tax at an equal target score, nats per token", rows, (note, interval_note(figures)))


def area_table(figures: Json) -> Table:
    """The area under each front."""
    keys = ("area", "area_minus_first", "area_in_budget", "area_in_budget_minus_first")
    rows = tuple((row["name"], *(with_interval(AREA, row[key]) for key in keys)) for row in figures["areas"])
    cap = figures["areas"][0]["cap"] if figures["areas"] else 0.0
    unit = f"{METRIC[figures['target']].label} times nats per token"
    note = (
        f"In {unit}, gains over the warm start. Reference points: gain 0 at the largest tax of the study "
        f"({cap:.4f}), and gain 0 at the budget."
    )
    main = figures["main"] or ABSENT
    header = (
        "Arms",
        f"Up to tax {cap:.4f}",
        f"Minus {main}",
        f"Up to the budget {figures['budget']:g}",
        f"Minus {main}",
    )
    return Table("Area under the front (hypervolume)", header, rows, (note,))


def role_table(figures: Json, role: str, title: str) -> Table:
    """The main arm and the arms of a role at their last step: settings, scores, difference from the main."""
    arms = list(dict.fromkeys(row["arm"] for row in figures["checkpoints"] if row["role"] == role))
    main = figures["main"]
    last_rows = [last_step(figures, arm) for arm in ([main, *arms] if arms else [])]
    metrics = [METRIC[key] for key in ("cosine", "cosine_held_out", "chrf", "consistent_share")]
    target = METRIC[figures["target"]]
    rows = (
        {
            "Arm": label(row),
            "Setting": ", ".join(row["differs"]) or ABSENT,
            **{one.label: one.value(row["metrics"][one.key]["value"]) for one in metrics},
            f"{target.label} minus {main}": with_interval(target, (row["minus_main"] or {}).get(target.key)),
            "Tax": with_interval(TAX, row["tax"]),
            f"Tax minus {main}": with_interval(TAX, (row["minus_main"] or {}).get("tax")),
        }
        for row in last_rows
        if row is not None
    )
    return table_of(title, rows, (interval_note(figures),))


def budget_table(figures: Json) -> Table:
    """Every arm with a tax budget."""
    rows = (
        {
            "Arm": row["arm"],
            "Seed": str(row["seed"]),
            "Budget": plain_number(row["budget"]),
            "Against": row["against"],
            "Tax at the end": with_interval(TAX, row["final"]),
            "Largest tax": with_interval(TAX, row["largest"]),
            "Kept": row["kept"],
        }
        for row in figures["budgets"]
    )
    note = (
        "Measured on the general texts of the evaluation, which did not steer training. Kept: yes or no where the "
        "whole interval is on one side of the budget. The gains above say what a budget costs in target score."
    )
    return table_of("Tax budgets", rows, (note, BY_TEXTS))


def judge_table(figures: Json) -> Table:
    """Pairwise preferences; a win is one of the second system."""
    rows = (
        {
            "Comparison": f"{row['after']} against {row['before']}",
            "Judge": row["judge"],
            "n": plain_number(row["n"]),
            **{key.capitalize(): SHARE.value(row[key]) for key in ("win", "tie", "loss")},
            "Win, 95 %": " to ".join(map(SHARE.value, row["win_interval"])),
            "Loss, 95 %": " to ".join(map(SHARE.value, row["loss_interval"])),
        }
        for row in figures["judgements"]
    )
    return table_of("Which output is preferred", rows, ["Win: of the system named first. Intervals: Wilson."])
