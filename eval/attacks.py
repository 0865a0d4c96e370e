"""`python -m eval.attacks --config configs/mt.toml`: measures what a reward pays for cheap attacks on real
reference texts.

Each attack of `reward.attacks` replaces the reference text of each held-out example (test, then dev). The
margin is 1 - R(attack) / R(reference): 1 = the attack earns nothing, 0 = it earns as much as the reference
text, below 0 = the reward is broken. Columns: the cosine alone, the paper's sum, the cosine times each guard
and times all guards, and the reward of the configuration if it is none of these. No model is needed.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from data.arguments import ArgumentParser
from data.cache import atomic_write_text, cache_dir
from data.errors import InputError, run_command
from data.examples import Example
from data.prepare import prepare
from data.script import known_script
from eval.report.blocks import Table, plain_text
from eval.report.markdown import top_table
from grpo.config import Config
from grpo.config_file import load_config
from grpo.runtime import device
from reward.attacks import ATTACKS, Item, attack_text
from reward.combine import Reward, RewardConfig, combine, fitted_gate, make_reward
from reward.cosine import Vectors
from reward.embedding import EmbeddingStore
from reward.encoder import load_encoder
from reward.hubness import build_bank
from reward.learned.scores import Metrics
from reward.source_length import measure_bounds
from reward.units import units

GUARDS = ("script", "length_fit", "unrepeated", "uncopied")
ALL_GATES = (*GUARDS, "order", "markers")
PAPER = {"cosine": 1.5, "script": 1.0}
MEANING = {"cosine": 1.0}
Columns = Mapping[str, tuple[Mapping[str, float], tuple[str, ...]]]  # name -> weights and gates
COLUMNS: Columns = {
    "cosine alone": ({"cosine_raw": 1.0}, ()),
    "paper's sum": (PAPER, ()),
    **{f"cosine x {guard}": (MEANING, (guard,)) for guard in GUARDS},
    "all guards": (MEANING, GUARDS),
    "guards, half chrF": ({"cosine": 0.5, "chrf": 0.5}, GUARDS),
    "guards, margin": ({"margin": 1.0}, GUARDS),
    "all six gates": (MEANING, ALL_GATES),
}
SHARED = "the reference text"
TERMS = ("cosine_raw", "cosine", "script", "chrf", "margin", *ALL_GATES)
UNRELATED_SHARE = 0.2  # of units that an unrelated text may share


@dataclass(frozen=True)
class Row:
    """One kind of text, such as an attack: number of items, mean cosine, and margins by column.

    `margin` is the mean, `least` the minimum, `not_below` the number of items whose margin is not above 0.
    """

    name: str
    n: int
    cosine: float
    margin: dict[str, float]
    least: dict[str, float]
    not_below: dict[str, int]


def unrelated_text(example: Example, pool: Sequence[str], generator: random.Random) -> str:
    """A random text of the pool that shares few units with every reference text of the example.

    The text with the smallest share if none is below UNRELATED_SHARE.
    """
    reference_units = [set(units(text)) for text in example.references]
    texts = [text for text in generator.sample(pool, min(50, len(pool))) if text not in example.references]
    shares = {
        text: max(
            len(reference & set(units(text))) / max(1, len(reference | set(units(text))))
            for reference in reference_units
        )
        for text in texts
    }
    return next(
        (text for text in texts if shares[text] < UNRELATED_SHARE), min(shares, key=lambda text: shares[text])
    )


def reference_vectors(texts: Sequence[str], vectors: Vectors) -> Tensor:
    """Vectors of reference texts: n -> (n, D). The matrix is valid only once they are located."""
    places = vectors.locate(texts)
    return vectors.matrix[places]


def hub_text(vectors: Vectors, texts: Sequence[str]) -> str:
    """The text whose mean cosine to all of `texts` is highest: the best single answer to everything."""
    rows = reference_vectors(texts, vectors)
    return texts[int((rows @ rows.mean(dim=0)).argmax())]


def items_of(
    examples: Sequence[Example], vectors: Vectors, script: str, seed: int, language: str
) -> list[Item]:
    """An `Item` for each example; unrelated texts come from the other examples."""
    pool = sorted({example.reference for example in examples})
    hub = hub_text(vectors, pool)
    return [
        Item(
            example.source,
            (example.reference,),
            unrelated_text(example, pool, random.Random(f"{seed} {example.id}")),
            hub,
            script,
            language,
        )
        for example in examples
    ]


def substitute_texts(
    examples: Sequence[Example], items: Sequence[Item], vectors: Vectors, seed: int
) -> dict[str, list[tuple[int, str]]]:
    """Name -> (item, text) pairs that replace the reference texts: valid and near texts, then attacks."""
    texts = [item.reference for item in items]
    rows = reference_vectors(texts, vectors)
    cosines = rows @ rows.T
    for place, text in enumerate(texts):
        cosines[place, [other for other, candidate in enumerate(texts) if candidate == text]] = -2.0
    baselines = {
        SHARED: list(enumerate(texts)),
        "another valid reference": [
            (place, example.others[0]) for place, example in enumerate(examples) if example.others
        ],
        "nearest other text": [(place, texts[int(cosines[place].argmax())]) for place in range(len(texts))],
    }
    attack_texts = {
        name: [(place, attack_text(name, item, seed)) for place, item in enumerate(items)] for name in ATTACKS
    }
    return baselines | {
        name: [(place, text) for place, text in row if text is not None] for name, row in attack_texts.items()
    }


def reward_of_terms(
    values: Mapping[str, Tensor], weights: Mapping[str, float], gates: Sequence[str]
) -> Tensor:
    """R of N completions whose terms are known: name -> (N,) -> (N,)."""
    count = len(next(iter(values.values())))
    terms = {
        name: (lambda sources, completions, references, value=value: value) for name, value in values.items()
    }
    return combine(terms, weights, gates)([""] * count, [""] * count, [[""]] * count, 1)[0].flatten()


def full_rewards(
    values: Mapping[str, Tensor], weights: Mapping[str, float], gates: Sequence[str], name: str
) -> Tensor:
    """R of each item's reference text itself in fp64, from which margins are counted. Raises InputError where the reward,
    called `name`, pays nothing for one.
    """
    rewards = reward_of_terms(values, weights, gates).double()
    if not (rewards > 0).all():
        raise InputError(f"{name} pays nothing for a reference text itself: no margin can be measured")
    return rewards


def term_resources(
    vectors: Vectors, known: Sequence[str], language: str, config: RewardConfig, metrics: Metrics
) -> dict[str, Callable[[], object]]:
    """What terms of the reward ask for; `known`: the reference texts that a term may compare an output with."""
    lent = {
        "vectors": vectors, "bank": build_bank(vectors, known), "target_script": known_script(language),
        "target_language": language, "threshold": config.threshold, "min_share": config.min_share, "metrics": metrics,
    }  # fmt: skip
    return {name: partial(lambda one: one, one) for name, one in lent.items()}


def measure(pairs: Sequence[tuple[int, str]], items: Sequence[Item], reward: Reward) -> dict[str, Tensor]:
    """Every term of the reward for n (item, text) pairs: name -> (n,)."""
    own_items = [items[place] for place, _ in pairs]
    _, terms = reward(
        [item.source for item in own_items],
        [text for _, text in pairs],
        [item.references for item in own_items],
        1,
    )
    return {key: value.flatten() for key, value in terms.items()}


def columns_of(config: RewardConfig) -> Columns:
    """The rewards that are compared: the fixed ones, and the configuration's own where it is none of them."""
    own = (config.weights, config.gates)
    return COLUMNS if own in COLUMNS.values() else {**COLUMNS, "configuration": own}


def row_of(
    name: str,
    places: Sequence[int],
    terms: Mapping[str, Tensor],
    best: Mapping[str, Tensor],
    columns: Columns,
) -> Row:
    """The margins of one kind of text; `best`: column -> R of every item's reference text."""
    margins = {
        column: 1 - reward_of_terms(terms, weights, gates).double() / best[column][list(places)]
        for column, (weights, gates) in columns.items()
    }
    return Row(
        name,
        len(places),
        float(terms["cosine_raw"].double().mean()),
        {column: float(margin.mean()) for column, margin in margins.items()},
        {column: float(margin.min()) for column, margin in margins.items()},
        {column: int((margin <= 0).sum()) for column, margin in margins.items()},
    )


def attack_rows(
    examples: Sequence[Example], config: RewardConfig, language: str, vectors: Vectors, seed: int
) -> list[Row]:
    """A row for the reference text, for other valid ones, and for each attack that applies to any example."""
    known = [text for example in examples for text in example.references]
    metrics = Metrics(config.metrics, torch.device("cpu"), config.one_metric_at_a_time, config.metric_format)
    resources = term_resources(vectors, sorted(set(known)), language, config, metrics) | {
        "length_bounds": lambda: measure_bounds(
            (one.source, text) for one in examples for text in one.references
        ),
        "language_gate": lambda: fitted_gate(config, language, known),
    }
    columns = columns_of(config)
    term_names = tuple(dict.fromkeys((*TERMS, *config.weights, *config.gates)))
    settings = {name: value for name, value in config.settings.items() if name in term_names}
    shown = RewardConfig(weights={}, gates=(), shown=term_names, settings=settings, metrics=config.metrics)
    reward = make_reward(shown, resources)
    items = items_of(examples, vectors, known_script(language), seed, language)
    texts = {name: pairs for name, pairs in substitute_texts(examples, items, vectors, seed).items() if pairs}
    terms = {name: measure(pairs, items, reward) for name, pairs in texts.items()}
    best = {
        column: full_rewards(terms[SHARED], weights, gates, f"reward of column {column!r}")
        for column, (weights, gates) in columns.items()
    }
    return [row_of(name, [place for place, _ in texts[name]], terms[name], best, columns) for name in texts]


def tables(rows: Sequence[Row], what: str) -> list[Table]:
    """Mean margins, and where an attack is not below the reference text of its item."""
    columns = rows[0].margin
    header = ("Written instead", "n", "cosine", *columns)
    heads = [(row.name, str(row.n), f"{row.cosine:.3f}") for row in rows]
    means = [[f"{row.margin[column]:+.3f}" for column in columns] for row in rows]
    least = [[f"{row.least[column]:+.3f} ({row.not_below[column]})" for column in columns] for row in rows]
    titles = ("mean margin 1 - R / R(reference text)", "least margin (items whose margin is not above 0)")
    return [
        Table(
            f"{what}: {title}", header, tuple((*head, *row) for head, row in zip(heads, cells, strict=True))
        )
        for title, cells in zip(titles, (means, least), strict=True)
    ]


def examples_of(config: Config, limit: int) -> list[Example]:
    """Held-out examples, test first."""
    corpus = prepare(config.data, cache_dir(), say=lambda text: None)
    return [*corpus.test, *corpus.dev][: limit or None]


def run(options: argparse.Namespace) -> None:
    if options.items < 0:
        raise InputError(f"--items {options.items}: a number from 1 is needed, or 0 for all")
    config = load_config(options.config, options.overrides)
    if isinstance(config.reward.threshold, str):
        raise InputError(
            f"reward.threshold = {config.reward.threshold!r} needs a warm start; give a number: reward.threshold=0.3"
        )
    compute = device.choose(config.device, config.engine.number_format)
    device.configure(compute, config.threads, config.engine.deterministic)
    examples = examples_of(config, options.items)
    store = EmbeddingStore(
        load_encoder(config.reward.encoder, cache_dir(), compute.device), cache_dir() / "embeddings"
    )
    store.remember([text for example in examples for text in example.references])
    language = config.data.completion_language
    rows = attack_rows(examples, config.reward, language, store, config.seed)
    parts = tables(
        rows,
        f"{len(examples)} {language} reference texts, encoder {config.reward.encoder}, tau {config.reward.threshold}",
    )
    print("\n\n".join(map(plain_text, parts)))
    if options.out:
        figures = {
            "config": options.config,
            "encoder": store.fingerprint,
            "n": len(examples),
            "rows": [asdict(row) for row in rows],
        }
        atomic_write_text(
            Path(f"{options.out}.json"), json.dumps(figures, ensure_ascii=False, indent=1) + "\n"
        )
        atomic_write_text(Path(f"{options.out}.md"), "\n\n".join(map(top_table, parts)) + "\n")


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m eval.attacks", description="How a reward stands up to cheap attacks."
    )
    parser.add_argument(
        "--config",
        required=True,
        help="the configuration of a run: its corpus, encoder and reward settings are used",
    )
    parser.add_argument(
        "--items", type=int, default=0, help="at most so many held-out examples (default: all)"
    )
    parser.add_argument("--out", help="also write OUT.json and OUT.md")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_args(argv)
    with torch.inference_mode():
        return run_command(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
