"""The table and the sentence of a study's claim (`eval.study.claim`)."""

from eval.report.blocks import Table
from eval.report.wording import ABSENT, METRIC, TAX, Metric
from eval.run_folder import Json
from eval.study.sentences import metric_name


def claim_sentence(figures: Json) -> list[str]:
    """The verdict on the claim, in words."""
    claim = figures["claim"]
    if claim is None:
        return []
    metric = METRIC[claim["metric"]]
    half = half_words(claim)
    gain = gain_words(claim, metric)
    return [
        f"The claim is {claim['verdict']}: at the {metric_name(metric)} of the best SFT run ({claim['sft']}) the arm "
        f"{claim['recommended']} pays at most half its tax ({half}), or gains more at an equal tax ({gain}). Each at its best, it pays "
        f"{value(TAX, claim['best_tax'])} nats per token and SFT {value(TAX, claim['sft_tax'])}, and its {metric_name(metric)} minus "
        f"SFT's is {ends(metric, claim['best_gain'])}."
    ]


def half_words(claim: Json) -> str:
    """'refuted; tax minus half of SFT's +0.0100 (0.0000 to +0.0200)'."""
    if claim["half"]["value"] is None:
        return f"{claim['verdicts']['half']}; {not_in_seeds(claim, 'half')} it does not reach that score"
    return f"{claim['verdicts']['half']}; tax minus half of SFT's {ends(TAX, claim['half'])}"


def gain_words(claim: Json, metric: Metric) -> str:
    """'confirmed; gain minus SFT's +0.024 (+0.008 to +0.042)'."""
    if claim["gain"]["value"] is None:
        return f"{claim['verdicts']['gain']}; {not_in_seeds(claim, 'gain')} each of its taxes is higher"
    return f"{claim['verdicts']['gain']}; gain minus SFT's {ends(metric, claim['gain'])}"


def not_in_seeds(claim: Json, name: str) -> str:
    """The seeds in which there is nothing to compare: 'in seeds 0 and 2'."""
    pairs = zip(claim["seeds"], claim[name]["per_seed"], strict=True)
    seeds = [str(seed) for seed, value in pairs if value is None]
    return f"in seed {seeds[0]}" if len(seeds) == 1 else f"in seeds {', '.join(seeds[:-1])} and {seeds[-1]}"


def claim_table(figures: Json) -> Table:
    """Both halves of the claim, with the figures that they compare."""
    claim = figures["claim"]
    header = ("Claim", "Best SFT run", "Recommended", "Difference", "Reading")
    if claim is None:
        return Table("The claim", header, ())
    metric = METRIC[claim["metric"]]
    rows = (
        (
            f"Tax at SFT's {metric_name(metric)} ({metric.change(claim['score']['value'])}): minus half of SFT's",
            value(TAX, claim["sft_tax"]),
            value(TAX, claim["own_tax"]),
            ends(TAX, claim["half"]),
            claim["verdicts"]["half"],
        ),
        (
            f"Gain in {metric_name(metric)} at SFT's tax",
            value(metric, claim["score"]),
            value(metric, claim["own_gain"]),
            ends(metric, claim["gain"]),
            claim["verdicts"]["gain"],
        ),
        (
            f"Each at its best: tax, and difference in {metric_name(metric)}",
            ends(TAX, claim["sft_tax"]),
            ends(TAX, claim["best_tax"]),
            ends(metric, claim["best_gain"]),
            "",
        ),
    )
    note = (
        f"Recommended: {claim['recommended']}. SFT runs with all of its seeds: {len(claim['sft_arms'])}. The best reaches the "
        f"highest score: {claim['sft']}; it is chosen on the same items, which favours it. 95 % "
        "intervals of a bootstrap over seeds and items. '-': a score that the arm does not reach, or a tax below all of "
        f"its. Verdict: {claim['verdict']}; one half that holds is enough."
    )
    return Table("The claim", header, rows, (note,))


def value(metric: Metric, figure: Json) -> str:
    return metric.value(figure["value"])


def ends(metric: Metric, figure: Json) -> str:
    """'-0.0100 (-0.0200 to 0.0000)', with '-' for an end that is infinite."""
    value, low, high = (
        ABSENT if figure[key] is None else metric.change(figure[key]) for key in ("value", "low", "high")
    )
    return f"{value} ({low} to {high})"
